import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BlobStore } from '@inference-server/blob-store';
import { createLeadership } from '../src/database/leader.js';
import { sweepAbandonedUploads } from '../src/retention/abandoned-uploads.js';
import { onlyInOwnStore } from '../src/retention/own-store.js';
import { sweepUnknownFiles } from '../src/retention/unknown-files.js';
import { openSweepScene, type SweepScene } from './sweep-scene.js';

const hour = 3600;

let scene: SweepScene;
beforeEach(async () => {
  scene = await openSweepScene();
});
afterEach(() => scene.close());

describe('abandoned uploads', () => {
  it('are let be once the row of the leader has run out, whatever it was told before', async () => {
    const dead = await scene.row('pending', { ageS: 901 });
    const leadership = createLeadership(
      scene.database,
      'retention',
      'holder',
      pino({ level: 'silent' }),
    );
    await leadership.lead();
    const sweep = sweepAbandonedUploads(scene.database, {
      abandonedAfterS: 900,
      everyMs: 1,
      leader: leadership.row,
    });
    const { signal } = new AbortController();
    const since = (steady: string, until: string) =>
      scene.query(
        `UPDATE leaders SET steady_since = now() - $1::interval, leader_until = now() + $2::interval`,
        [steady, until],
      );
    await since('1 hour', '-1 second');
    expect(await sweep.take(signal)).toMatchObject({ count: 0 });
    await since('1 minute', '5 seconds');
    expect(await sweep.take(signal)).toMatchObject({ count: 0 });
    expect(await scene.blobStates()).toEqual({ [dead]: 'pending' });
    await since('1 hour', '5 seconds');
    expect(await sweep.take(signal)).toMatchObject({ count: 1 });
  });
});

describe('files that no row knows', () => {
  it('go folder by folder, so that a walk which is given up was not for nothing', async () => {
    const [first, second] = ['00', '01'].map((folder) => `${folder}${randomUUID().slice(2)}`);
    await scene.file(first!, { ageS: 9 * hour });
    await scene.file(second!, { ageS: 9 * hour });
    const { store, database } = scene;
    const lists: BlobStore = {
      ...store,
      async *list(signal) {
        const batches = [];
        for await (const files of store.list(signal)) batches.push(files);
        yield* batches.sort(([a], [b]) => (a!.name < b!.name ? -1 : 1));
        throw new Error('no disk');
      },
    };
    const sweep = sweepUnknownFiles(database, lists, { orphanedAfterS: hour, everyMs: 1 });
    const { signal } = new AbortController();
    const takeWhole = async () => {
      while ((await sweep.take(signal)).more);
    };
    await expect(takeWhole()).rejects.toThrow('no disk');
    expect([first!, second!].map((id) => existsSync(scene.pathOf(id)))).toEqual([false, true]);
  });

  it('are looked for in a store that was claimed once, also when it is full', async () => {
    const old = await scene.file(randomUUID(), { ageS: 9 * hour });
    let claims = 0;
    const store: BlobStore = {
      ...scene.store,
      async claim(owner, signal) {
        claims += 1;
        await scene.store.claim(owner, signal);
      },
    };
    const unknown = sweepUnknownFiles(scene.database, store, { orphanedAfterS: hour, everyMs: 1 });
    const installation = { id: async () => 'ours', known: async () => 'ours' };
    const logger = pino({ level: 'silent' });
    const sweep = onlyInOwnStore(unknown, { store, installation, logger });
    const { signal } = new AbortController();
    while ((await sweep.take(signal)).more);
    expect(existsSync(scene.pathOf(old))).toBe(false);
    expect(claims).toBe(1);
  });
});

describe('all sweeps', () => {
  it('that ask the disk wait for it apart from the others', () => {
    const apart = scene.sweeps.filter(({ waitsForDisk = false }) => waitsForDisk);
    expect(apart.map(({ name }) => name)).toEqual([
      'deleted-blobs',
      'lost-files',
      'unknown-files',
      'staged-files',
    ]);
  });
});
