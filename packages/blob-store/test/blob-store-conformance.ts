import { randomBytes, randomUUID } from 'node:crypto';
import { readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { Readable } from 'node:stream';
import { beforeEach, describe, expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import { waitUntil } from '@inference-server/testing';
import { receiveFile, type BlobStore, type ListedFile, type ReceivedFile } from '../src/index.js';

const signal = new AbortController().signal;

/** What every adapter of {@link BlobStore} does. `open` gives a new, empty store. */
export function describeBlobStore(name: string, open: () => Promise<BlobStore>): void {
  describe(`${name} as a blob store`, () => {
    let store: BlobStore;

    beforeEach(async () => {
      store = await open();
    });

    const receive = (content: Buffer): Promise<ReceivedFile> =>
      receiveFile(Readable.from([content], { objectMode: false }), {
        folder: store.stagingFolder,
        maxBytes: content.length,
        signal: new AbortController().signal,
      });

    async function putNew(content: Buffer): Promise<string> {
      const id = randomUUID();
      await store.put(id, await receive(content), signal);
      return id;
    }

    async function read(id: string, range?: { start: number; end: number }) {
      const blob = await store.open(id, {
        signal: new AbortController().signal,
        ...(range === undefined ? {} : { range }),
      });
      if (blob === undefined) return undefined;
      return { bytes: blob.bytes, content: hex(await buffer(blob.stream)) };
    }

    it('gives back what was put, and takes the received file away', async () => {
      const content = randomBytes(300_000);
      const id = await putNew(content);
      expect(await read(id)).toEqual({ bytes: content.length, content: hex(content) });
      expect(await readdir(store.stagingFolder)).toEqual([]);
    });

    it('keeps an empty blob', async () => {
      expect(await read(await putNew(Buffer.alloc(0)))).toEqual({ bytes: 0, content: '' });
    });

    it('gives a range, with the size of the whole', async () => {
      const content = randomBytes(1000);
      const id = await putNew(content);
      const expected = (start: number, end: number) => ({
        bytes: 1000,
        content: hex(content.subarray(start, end + 1)),
      });
      expect(await read(id, { start: 0, end: 0 })).toEqual(expected(0, 0));
      expect(await read(id, { start: 10, end: 19 })).toEqual(expected(10, 19));
      expect(await read(id, { start: 990, end: 5000 })).toEqual(expected(990, 999));
    });

    it.each([
      { start: 1000, end: 1001 },
      { start: 5, end: 4 },
      { start: -1, end: 4 },
    ])('refuses the range $start to $end of 1000 bytes', async (range) => {
      const id = await putNew(randomBytes(1000));
      await expect(read(id, range)).rejects.toMatchObject({ code: 'VALIDATION_FAILED' });
    });

    it('says that a blob is absent', async () => {
      expect(await store.open(randomUUID(), { signal })).toBeUndefined();
    });

    it('removes a blob, twice without an error', async () => {
      const id = await putNew(randomBytes(10));
      await store.remove(id, signal);
      await store.remove(id, signal);
      await store.remove(randomUUID(), signal);
      expect(await read(id)).toBeUndefined();
    });

    it('accepts the same put again', async () => {
      const content = randomBytes(1000);
      const file = await receive(content);
      const id = randomUUID();
      await store.put(id, file, signal);
      await store.put(id, file, signal);
      expect(await read(id)).toEqual({ bytes: 1000, content: hex(content) });
    });

    it('does not accept a file that is gone', async () => {
      const file = { path: join(store.stagingFolder, 'gone.part'), bytes: 3, sha256: '' };
      const id = randomUUID();
      await expect(store.put(id, file, signal)).rejects.toMatchObject({ code: 'INTERNAL' });
      expect(await read(id)).toBeUndefined();
    });

    it('takes many puts at once', async () => {
      const contents = Array.from({ length: 40 }, () => randomBytes(5000));
      const ids = await Promise.all(contents.map(putNew));
      const stored = await Promise.all(ids.map((id) => read(id)));
      expect(stored.map((blob) => blob?.content)).toEqual(contents.map(hex));
    });

    it('ends with one of two files put under one id at once, never a mixture', async () => {
      const contents = [Buffer.alloc(100_000, 'a'), Buffer.alloc(100_000, 'b')];
      const files = await Promise.all(contents.map(receive));
      const id = randomUUID();
      await Promise.all(files.map((file) => store.put(id, file, signal)));
      expect(contents.map(hex)).toContain((await read(id))?.content);
    });

    it('shows nothing of an upload that a crash left behind', async () => {
      const id = randomUUID();
      await writeFile(join(store.stagingFolder, `${id}.part`), 'half of it');
      expect(await read(id)).toBeUndefined();
      await store.check(signal);
    });

    it.each([
      '',
      '..',
      '../../etc/passwd',
      'a'.repeat(36),
      randomUUID().toUpperCase(),
      `${randomUUID()}/x`,
    ])('refuses the id "%s"', async (id) => {
      const file = await receive(Buffer.from('x'));
      const refused = { code: 'VALIDATION_FAILED' };
      await expect(store.put(id, file, signal)).rejects.toMatchObject(refused);
      await expect(store.open(id, { signal })).rejects.toMatchObject(refused);
      await expect(store.remove(id, signal)).rejects.toMatchObject(refused);
    });

    it('does nothing once aborted, and says why', async () => {
      const id = await putNew(randomBytes(10));
      const why = new Error('the client went away');
      const aborted = AbortSignal.abort(why);
      const file = await receive(Buffer.from('x'));
      await expect(store.put(randomUUID(), file, aborted)).rejects.toBe(why);
      await expect(store.open(id, { signal: aborted })).rejects.toBe(why);
      await expect(store.remove(id, aborted)).rejects.toBe(why);
      await expect(store.check(aborted)).rejects.toBe(why);
      await expect(store.size(id, aborted)).rejects.toBe(why);
      await expect(allOf(store.list(aborted))).rejects.toBe(why);
      await expect(allOf(store.listStaged(aborted))).rejects.toBe(why);
      await expect(store.removeStaged('x', aborted)).rejects.toBe(why);
      expect(await read(id)).toBeDefined();
    });

    it('knows the size of a blob', async () => {
      const id = await putNew(randomBytes(1234));
      expect(await store.size(id, signal)).toBe(1234);
      expect(await store.size(randomUUID(), signal)).toBeUndefined();
    });

    it('lists nothing when it is empty', async () => {
      expect(await allOf(store.list(signal))).toEqual([]);
      expect(await allOf(store.listStaged(signal))).toEqual([]);
    });

    it('lists every blob in small batches, and nothing that is staged', async () => {
      const content = randomBytes(100);
      const ids = await Promise.all(Array.from({ length: 600 }, () => putNew(content)));
      await writeFile(join(store.stagingFolder, 'x.part'), 'half of it');
      const batches = [];
      for await (const batch of store.list(signal)) batches.push(batch);
      expect(Math.max(...batches.map(({ length }) => length))).toBeLessThanOrEqual(500);
      const files = batches.flat();
      expect(files.map(({ name }) => name).sort()).toEqual(ids.sort());
      expect(new Set(files.map(({ bytes }) => bytes))).toEqual(new Set([100]));
      // By its own clock, which need not agree with ours to the millisecond.
      for (const { ageMs } of files) expect(Math.abs(ageMs)).toBeLessThan(60_000);
    });

    it('lists what is staged, with its age, and removes it', async () => {
      const path = join(store.stagingFolder, 'old.part');
      await writeFile(path, 'half of it');
      const anHourAgo = new Date(Date.now() - 3_600_000);
      await utimes(path, anHourAgo, anHourAgo);
      const [file, ...others] = await allOf(store.listStaged(signal));
      expect(others).toEqual([]);
      expect(file).toMatchObject({ name: 'old.part', bytes: 10 });
      expect(Math.abs((file?.ageMs ?? 0) - 3_600_000)).toBeLessThan(60_000);
      await store.removeStaged('old.part', signal);
      await store.removeStaged('old.part', signal);
      expect(await readdir(store.stagingFolder)).toEqual([]);
    });

    it.each(['', '.', '..', '../x', 'a/b', '.hidden'])('stages nothing as "%s"', async (name) => {
      const refused = { code: 'VALIDATION_FAILED' };
      await expect(store.removeStaged(name, signal)).rejects.toMatchObject(refused);
    });

    it('belongs to the first who claims it', async () => {
      expect(await store.owner(signal)).toBeUndefined();
      const owners = ['a', 'b', 'c', 'd'];
      await Promise.all(owners.map((owner) => store.claim(owner, signal)));
      const owner = await store.owner(signal);
      expect(owners).toContain(owner);
      await store.claim('another', signal);
      expect(await store.owner(signal)).toBe(owner);
      expect(await readdir(store.stagingFolder)).toEqual([]);
      expect(await allOf(store.list(signal))).toEqual([]);
    });

    it('lists while blobs come and go', async () => {
      const kept = await Promise.all(Array.from({ length: 20 }, () => putNew(randomBytes(10))));
      const going = await Promise.all(Array.from({ length: 20 }, () => putNew(randomBytes(10))));
      const [files] = await Promise.all([
        allOf(store.list(signal)),
        ...going.map((id) => store.remove(id, signal)),
        ...going.map(() => putNew(randomBytes(10))),
      ]);
      expect(files.map(({ name }) => name)).toEqual(expect.arrayContaining(kept));
    });

    it('opens nothing when it is aborted meanwhile', async () => {
      const id = await putNew(randomBytes(10));
      const controller = new AbortController();
      const opening = store.open(id, { signal: controller.signal });
      const why = new AppError('CONFLICT', 'The client went away.');
      controller.abort(why);
      await expect(opening).rejects.toBe(why);
    });

    it('tells of an abort before anybody reads to who reads then, and to nobody else', async () => {
      const controller = new AbortController();
      const blob = await store.open(await putNew(randomBytes(10)), { signal: controller.signal });
      controller.abort();
      expect(await waitUntil(() => blob?.stream.closed === true, { timeoutMs: 5_000 })).toBe(true);
      await expect(buffer(blob!.stream)).rejects.toThrow('aborted');
    });

    it('stops a read that is aborted half-way', async () => {
      const id = await putNew(randomBytes(2_000_000));
      const abort = new AbortController();
      const blob = await store.open(id, { signal: abort.signal });
      const reading = blob && buffer(blob.stream.once('data', () => abort.abort()));
      await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
    });

    it('checks that it can be written to and leaves nothing', async () => {
      await store.check(signal);
      expect(await readdir(store.stagingFolder)).toEqual([]);
    });

    it('throws AppErrors only', async () => {
      const error: unknown = await store
        .open('no id', { signal })
        .catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(AppError);
    });
  });
}

async function allOf(batches: AsyncIterable<ListedFile[]>): Promise<ListedFile[]> {
  const files: ListedFile[] = [];
  for await (const batch of batches) files.push(...batch);
  return files;
}

/** Buffers are compared byte by byte by the test runner, which takes seconds. */
function hex(content: Buffer): string {
  return content.toString('hex');
}
