import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import type { ModelSource } from '../src/modules/models/sources/model-source.js';

export interface SourceUnderTest {
  source: ModelSource;
  /** Puts a file where the source can have it; answers with its URL. */
  put(name: string, bytes: Buffer): Promise<string>;
  absentUrl: string;
  /** What the operator does not allow, each with why. */
  refusedUrls: readonly [why: string, url: string][];
  /** What must stand in no error. */
  secrets: readonly string[];
  close(): Promise<void>;
}

/** What every source of models does; on real files, servers and stores. */
export function describeModelSource(name: string, start: () => Promise<SourceUnderTest>): void {
  describe(`a source of models: ${name}`, () => {
    let tested: SourceUnderTest;
    beforeAll(async () => {
      tested = await start();
    }, 120_000);
    afterAll(() => tested.close());

    const never = new AbortController().signal;
    const open = (url: string, signal = never) => tested.source.open(url, signal);

    it.each(['model.zip', 'a folder/mödel + 100%.zip'])('gives %s as it is', async (file) => {
      const bytes = randomBytes(3 * 1024 ** 2);
      const { stream, bytes: said } = await open(await tested.put(file, bytes));
      expect((await buffer(stream)).equals(bytes)).toBe(true);
      expect(said).toBe(bytes.length);
    });

    it('gives an empty file', async () => {
      const { stream, bytes } = await open(await tested.put('empty.zip', Buffer.alloc(0)));
      expect([(await buffer(stream)).length, bytes]).toEqual([0, 0]);
    });

    it('gives several at a time', async () => {
      const all = await Promise.all(
        [1, 2, 3, 4].map(async (at) => {
          const url = await tested.put(`file-${at}.zip`, Buffer.alloc(300_000, at));
          return buffer((await open(url)).stream);
        }),
      );
      expect(all.map((bytes) => [bytes.length, bytes[0]])).toEqual(
        [1, 2, 3, 4].map((at) => [300_000, at]),
      );
    });

    it('refuses what is not there, and what is not allowed, and tells nothing of it', async () => {
      for (const url of [tested.absentUrl, ...tested.refusedUrls.map(([, refused]) => refused)]) {
        const error: unknown = await open(url).catch((refusal: unknown) => refusal);
        expect([url, error]).toEqual([url, expect.any(AppError)]);
        const { code, extensions, message } = error as AppError;
        expect([url, code, extensions.parameter]).toEqual([url, 'VALIDATION_FAILED', 'model_url']);
        expect(message).not.toContain(url);
        for (const secret of tested.secrets) expect(message).not.toContain(secret);
      }
    });

    it('is not asked for what is wanted no more', async () => {
      const url = await tested.put('unwanted.zip', Buffer.from('bytes'));
      const gone = new Error('gone');
      await expect(open(url, AbortSignal.abort(gone))).rejects.toBe(gone);
    });

    it('ends in the middle of what is wanted no more', async () => {
      const url = await tested.put('cut.zip', Buffer.alloc(32 * 1024 ** 2));
      const wanted = new AbortController();
      const { stream } = await open(url, wanted.signal);
      const reading = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
      expect((await reading.next()).done).toBe(false);
      wanted.abort(new Error('gone'));
      // As whoever receives it does.
      stream.destroy();
      await reading.next().catch(() => undefined);
      expect(stream.destroyed).toBe(true);
    });

    it('holds nothing open of what is not read', async () => {
      const { stream } = await open(await tested.put('unread.zip', Buffer.alloc(1024 ** 2)));
      const closed = new Promise((resolve) => stream.once('close', resolve));
      stream.destroy();
      await closed;
    });
  });
}

/** How an open fails: with its code and detail. */
export async function refusalOf(source: ModelSource, url: string): Promise<[string, string]> {
  try {
    const { stream } = await source.open(url, new AbortController().signal);
    await buffer(stream);
  } catch (error) {
    if (error instanceof AppError) return [error.code, error.message];
    throw error;
  }
  throw new Error('it was given');
}
