import { Readable } from 'node:stream';
import { expect } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import type { RunningPrivateApi } from './running-private-api.js';

/** A zip whose second half comes with `finish`; `begun` resolves while the first is received. */
export function openSlowly(api: RunningPrivateApi, zip: Buffer) {
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const halves = async function* () {
    yield zip.subarray(0, 20);
    await finished;
    yield zip.subarray(20);
  };
  const isReceived = async () => {
    const rows = await api.database.query(`SELECT id FROM blobs WHERE state = 'pending'`);
    return rows.length > 0;
  };
  return {
    stream: Readable.from(halves(), { objectMode: false }),
    begun: async () => expect(await waitUntil(isReceived, { timeoutMs: 5_000 })).toBe(true),
    finish,
  };
}
