import { randomUUID } from 'node:crypto';
import { access, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { openFilesBelow, testFolder, waitUntil } from '@inference-server/testing';
import { createDiskBlobStore, openBlobStore, receiveFile } from '../src/index.js';
import { describeBlobStore } from './blob-store-conformance.js';

const signal = new AbortController().signal;

describeBlobStore('a folder', async () => createDiskBlobStore({ root: await testFolder() }));

describe('createDiskBlobStore', () => {
  it('lays blobs out by the first two digits of their id', async () => {
    const root = await testFolder();
    const store = await createDiskBlobStore({ root });
    const id = randomUUID();
    await store.put(id, await receive(store.stagingFolder, 'x'), signal);
    expect((await stat(join(root, 'blobs', id.slice(0, 2), id))).size).toBe(1);
  });

  it('is for its owner alone', async () => {
    const root = join(await testFolder(), 'store');
    const store = await createDiskBlobStore({ root });
    const id = randomUUID();
    await store.put(id, await receive(store.stagingFolder, 'x'), signal);
    const below = await readdir(root, { recursive: true });
    expect(below).toContain(join('blobs', id.slice(0, 2), id));
    for (const name of ['', ...below]) {
      expect([name, (await stat(join(root, name))).mode & 0o077]).toEqual([name, 0]);
    }
  });

  it('makes folders that are missing, at any depth, and finds its blobs again', async () => {
    const root = join(await testFolder(), 'a', 'b');
    const id = randomUUID();
    const first = await createDiskBlobStore({ root });
    await first.put(id, await receive(first.stagingFolder, 'kept'), signal);
    const second = await createDiskBlobStore({ root });
    const blob = await second.open(id, { signal });
    expect(blob && (await buffer(blob.stream)).toString()).toBe('kept');
  });

  it('closes what it opened, also when a reader gives up', async () => {
    const root = await testFolder();
    const store = await createDiskBlobStore({ root });
    const id = randomUUID();
    await store.put(id, await receive(store.stagingFolder, 'x'.repeat(1_000_000)), signal);
    const abandoned = await store.open(id, { signal });
    abandoned?.stream.destroy();
    const range = { start: 2_000_000, end: 2_000_001 };
    await expect(store.open(id, { signal, range })).rejects.toThrow();
    const closed = async () => (await openFilesBelow(root)).length === 0;
    expect(await waitUntil(closed, { timeoutMs: 5000 })).toBe(true);
  });

  it('is unavailable when its folder is gone', async () => {
    const root = await testFolder();
    const store = await createDiskBlobStore({ root });
    await rm(root, { recursive: true });
    await expect(store.check(signal)).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
  });

  it('takes up a folder for blobs again that could not be made before', async () => {
    const root = await testFolder();
    const store = await createDiskBlobStore({ root });
    const id = randomUUID();
    const inTheWay = join(root, 'blobs', id.slice(0, 2));
    await writeFile(inTheWay, '');
    const file = await receive(store.stagingFolder, 'x');
    await expect(store.put(id, file, signal)).rejects.toMatchObject({ code: 'INTERNAL' });
    await rm(inTheWay);
    await store.put(id, file, signal);
    expect(await store.open(id, { signal })).toBeDefined();
  });
});

describe('openBlobStore', () => {
  it.each(['path', 'file URL'])('opens a %s', async (kind) => {
    const folder = join(await testFolder(), 'with space');
    await mkdir(folder);
    const url = kind === 'path' ? folder : `file://${encodeURI(folder)}`;
    const store = await openBlobStore(url);
    expect(store.stagingFolder).toBe(join(folder, 'staging'));
    await access(store.stagingFolder);
    expect((await readdir(folder)).sort()).toEqual(['blobs', 'staging']);
  });

  it.each(['', 's3://key:secret@host/bucket', 'https://host/', 'file://host/path'])(
    'refuses "%s" and says what it takes',
    async (url) => {
      const error = await openBlobStore(url).catch((thrown: unknown) => thrown as Error);
      expect(error).toMatchObject({
        code: 'VALIDATION_FAILED',
        extensions: { parameter: 'STORAGE_URL' },
        message: expect.stringContaining('file:///absolute/path') as string,
      });
      expect((error as Error).message).not.toContain('secret');
    },
  );
});

function receive(folder: string, content: string) {
  const source = Readable.from([Buffer.from(content)], { objectMode: false });
  return receiveFile(source, { folder, maxBytes: 2_000_000, signal });
}
