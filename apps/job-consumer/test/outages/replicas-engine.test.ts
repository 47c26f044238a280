import { randomUUID } from 'node:crypto';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { needs, ownEngine, type OwnEngine } from '@inference-server/testing';
import { openReplicaScene, type ReplicaScene } from '../replica-scene.js';

const small = { needs: needs({ memory_mib: 128 }) };
let engine: OwnEngine;
let scene: ReplicaScene;

beforeAll(async () => {
  engine = await ownEngine();
  scene = await openReplicaScene({ ...engine, installationId: randomUUID() });
});

afterEach(async () => {
  await scene.closeAll();
  await scene.removeAll();
});

const start = () => scene.start({ limits: { memoryBytes: 256 * 1024 ** 2 } });

describe('a replica whose engine', () => {
  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'ends (%s) and comes back has ended, and another is brought up',
    async (how) => {
      const { id } = await start();
      const replica = scene.order(id, {}, small);
      await scene.untilReady(replica);
      await engine.end(how);
      await engine.start();
      const end = await scene.untilEnded(replica, 30_000);
      expect(['engine', 'exited']).toContain(end?.reason);
      const left = async () => (await scene.tracesOf()).filter((name) => name.includes(replica.id));
      await expect.poll(left, { timeout: 15_000 }).toEqual([]);
      const next = scene.order(id, {}, small);
      await scene.untilSaid(next, 'ready', 20_000);
      expect(await scene.statusOf(scene.replicas.said(next.id)?.address ?? '')).toBe('12');
    },
    90_000,
  );

  it('is away is told of as ready as long as it runs', async () => {
    const { id } = await start();
    const replica = scene.order(id, {}, small);
    const address = await scene.untilReady(replica);
    await engine.end('SIGKILL');
    expect(await scene.statusOf(address)).toBe('12');
    const { length } = scene.replicas.reports;
    await expect
      .poll(() => scene.replicas.reports.length, { timeout: 10_000 })
      .toBeGreaterThan(length + 5);
    expect(scene.replicas.said(replica.id)).toEqual({ id: replica.id, state: 'ready', address });
    // It is not to be begun while nobody could.
    const waiting = scene.order(id, {}, small);
    await scene.untilSaid(waiting, 'starting');
    await engine.start();
    await scene.untilSaid(waiting, 'ready', 20_000);
  }, 90_000);
});
