import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type {
  InvocationKey,
  InvocationRecord,
  InvocationStore,
} from '../src/modules/invocations/invocation-store.js';

export interface StoreUnderTest {
  store: InvocationStore;
  /** Lets so many seconds pass for what was put so far. */
  age(seconds: number): Promise<void>;
  close(): Promise<void>;
}

const week = 7 * 24 * 3600;

/** What every adapter of {@link InvocationStore} does, on the real thing. */
export function describeInvocationStore(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`${name} as a store of invocations`, () => {
    let tested: StoreUnderTest;
    let store: InvocationStore;
    let owner: string;
    beforeAll(async () => {
      tested = await open();
      ({ store } = tested);
    });
    beforeEach(() => {
      owner = `key:${randomUUID()}`;
    });
    afterAll(() => tested.close());

    const inline = (content: string | Buffer, head = '{}'): InvocationRecord => ({
      head,
      content: Buffer.from(content),
    });
    const large = (blobId: string = randomUUID()) => ({ head: '{}', content: { blobId } });
    const key = (id: number, whose = owner): InvocationKey => ({ owner: whose, id });

    it('gives back what was put, bytes as they are', async () => {
      const bytes = Buffer.from(Array.from({ length: 512 }, (_, at) => at % 256));
      const record = inline(bytes, '{"metadata":[{"key":"a\\u0000","value":"ä:\\n"}]}');
      expect(await store.put(key(7), record)).toBeUndefined();
      expect(await store.find(key(7))).toEqual(record);
    });

    it('takes the lowest and the highest id, empty content, and a MiB of it', async () => {
      const mib = inline(Buffer.alloc(1024 ** 2, 'x'));
      await store.put(key(-(2 ** 31)), inline(''));
      await store.put(key(2 ** 31 - 1), mib);
      expect(await store.find(key(-(2 ** 31)))).toEqual(inline(''));
      const found = (await store.find(key(2 ** 31 - 1)))?.content as Buffer;
      expect(found.equals(mib.content as Buffer)).toBe(true);
    });

    it('has nothing where nothing was put, and nothing of another', async () => {
      await store.put(key(1), inline('mine'));
      expect(await store.find(key(2))).toBeUndefined();
      expect(await store.find(key(1, `${owner}:1`))).toBeUndefined();
      expect(await store.find(key(1, ''))).toBeUndefined();
    });

    it('replaces the one before, and tells of its blob', async () => {
      const [first, second] = [randomUUID(), randomUUID()];
      expect(await store.put(key(1), large(first))).toBeUndefined();
      expect(await store.put(key(1), large(second))).toBe(first);
      expect(await store.find(key(1))).toEqual(large(second));
      expect(await store.put(key(1), inline('small'))).toBe(second);
      expect(await store.find(key(1))).toEqual(inline('small'));
      expect(await store.put(key(1), inline('again'))).toBeUndefined();
    });

    it('lets one of many win whole, and tells of each other blob once', async () => {
      const ids = Array.from({ length: 20 }, () => randomUUID());
      const replaced = await Promise.all(
        ids.map((blobId) => store.put(key(1), { head: `{"of":"${blobId}"}`, content: { blobId } })),
      );
      const last = await store.find(key(1));
      const won = last?.content as { blobId: string };
      expect(last?.head).toBe(`{"of":"${won.blobId}"}`);
      expect([...replaced, won.blobId].filter(Boolean).toSorted()).toEqual(ids.toSorted());
    });

    it('tells which blob each names', async () => {
      const blobId = randomUUID();
      await store.put(key(1), large(blobId));
      await store.put(key(2), inline('a'));
      const asked = [key(3), key(2), key(1), key(1, 'another')];
      expect(await store.blobsOf(asked)).toEqual([undefined, undefined, blobId, undefined]);
      expect(await store.blobsOf([])).toEqual([]);
    });

    it('counts what an owner has, as it is now', async () => {
      expect(await store.bytesOf(owner)).toBe(0);
      await store.put(key(1), inline('ää', '{}'));
      await store.put(key(2), large());
      expect(await store.bytesOf(owner)).toBe(2 + 4 + 2);
      await store.put(key(1), inline(''));
      expect(await store.bytesOf(owner)).toBe(2 + 2);
    });

    it('removes what is old, and nothing else', async () => {
      const blobId = randomUUID();
      await store.put(key(1), inline('old'));
      await store.put(key(2), large(blobId));
      await store.put(key(3), inline('again'));
      await tested.age(week);
      await store.put(key(3), inline('new'));
      await store.put(key(4), inline('new'));
      const old = await store.countOld(week);
      const removed = await store.removeOld(week, 1000);
      expect({ ...old, blobIds: removed.blobIds }).toEqual(removed);
      expect(removed.blobIds).toContain(blobId);
      const found = await Promise.all([1, 2, 3, 4].map((id) => store.find(key(id))));
      const isThere = found.map((record) => record !== undefined);
      expect(isThere).toEqual([false, false, true, true]);
      expect(found[2]).toEqual(inline('new'));
      expect(await store.removeOld(week, 1000)).toEqual({ count: 0, bytes: 0, blobIds: [] });
      expect(await store.bytesOf(owner)).toBe(2 * (2 + 3));
    });

    it('removes earlier what says so, unless it is put again without that', async () => {
      await store.put(key(1), inline('short'), { keepS: 60 });
      await store.put(key(2), inline('renewed'), { keepS: 60 });
      await store.put(key(2), inline('renewed'));
      await store.put(key(3), inline('long'), { keepS: 3600 });
      await tested.age(60);
      expect(await store.removeOld(week, 1000)).toMatchObject({ count: 1, blobIds: [] });
      const found = await Promise.all([1, 2, 3].map((id) => store.find(key(id))));
      expect(found.map((record) => record !== undefined)).toEqual([false, true, true]);
    });

    it('removes no more at once than it is asked to', async () => {
      await Promise.all([1, 2, 3].map((id) => store.put(key(id), inline('a'), { keepS: 60 })));
      await tested.age(week);
      await store.removeOld(week, 0);
      expect((await store.removeOld(week, 2)).count).toBe(2);
      while ((await store.removeOld(week, 2)).count > 0);
      expect(await store.find(key(1))).toBeUndefined();
      expect(await store.bytesOf(owner)).toBe(0);
    });
  });
}
