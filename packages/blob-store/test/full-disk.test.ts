import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { createDiskBlobStore, discardFile, receiveFile } from '../src/index.js';

const signal = new AbortController().signal;

// A file system of a mebibyte has to be mounted.
describe.runIf(process.getuid?.() === 0)('a full disk', () => {
  it('is STORAGE_FULL for an upload and for the check, and over once there is room', async () => {
    const root = join(await testFolder(), 'small');
    await mkdir(root);
    await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', root]);
    const store = await createDiskBlobStore({ root });
    const receive = (bytes: number) =>
      receiveFile(Readable.from([Buffer.alloc(bytes)], { objectMode: false }), {
        folder: store.stagingFolder,
        maxBytes: 2 ** 30,
        signal,
      });

    await expect(receive(2 ** 21)).rejects.toMatchObject({ code: 'STORAGE_FULL' });
    expect(await readdir(store.stagingFolder)).toEqual([]);

    const filling = await receive(2 ** 20);
    await expect(store.check(signal)).rejects.toMatchObject({ code: 'STORAGE_FULL' });
    await discardFile(filling);

    await store.check(signal);
    const id = randomUUID();
    await store.put(id, await receive(1000), signal);
    const blob = await store.open(id, { signal });
    expect(blob && (await buffer(blob.stream))).toHaveLength(1000);
  });
});
