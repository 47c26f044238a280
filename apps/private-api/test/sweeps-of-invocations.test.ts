import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openSweepScene, type SweepScene } from './sweep-scene.js';

const hour = 3600;
const week = 7 * 24 * hour;

let scene: SweepScene;
beforeEach(async () => {
  scene = await openSweepScene();
});
afterEach(() => scene.close());

/** A blob that was stored as the content of an invocation so long ago. */
async function content(id: number, ageS: number): Promise<string> {
  const blobId = await scene.file(await scene.row('stored', { bytes: 3 }));
  await scene.query(
    `INSERT INTO invocation_contents (blob_id, owner, invocation_id, stored_at)
     VALUES ($1, 'a', $2, now() - $3 * interval '1 second')`,
    [blobId, id, ageS],
  );
  return blobId;
}

async function age(seconds: number): Promise<void> {
  await scene.query(`UPDATE invocations SET stored_at = stored_at - $1 * interval '1 second'`, [
    seconds,
  ]);
}

it('removes invocations whose time is over, with their blobs and what tells of those', async () => {
  const blobId = await content(1, week);
  await scene.invocations.put({ owner: 'a', id: 1 }, { head: '{}', content: { blobId } });
  await scene.invocations.put({ owner: 'a', id: 2 }, { head: '{}', content: Buffer.from('ab') });
  await age(week);
  await scene.invocations.put({ owner: 'a', id: 3 }, { head: '{}', content: Buffer.from('ab') });
  expect(await scene.look('invocations')).toEqual({ count: 2, bytes: 2 + 4 });
  expect(await scene.take('invocations')).toEqual({ count: 2, bytes: 2 + 4 + 3, more: false });
  expect(await scene.blobStates()).toEqual({ [blobId]: 'deleting' });
  await scene.take('deleted-blobs');
  expect(await scene.blobStates()).toEqual({});
  expect(await scene.query('SELECT * FROM invocation_contents')).toEqual([]);
  expect(await scene.invocations.find({ owner: 'a', id: 3 })).toBeDefined();
});

it('removes contents that no invocation names, but for those on their way', async () => {
  const [named, another, replaced, neverPut, onItsWay] = [
    await content(1, week),
    await content(2, 2 * hour),
    await content(2, 2 * hour),
    await content(3, 2 * hour),
    await content(4, hour / 2),
  ];
  const task = await scene.row('stored', { bytes: 3 });
  await scene.invocations.put({ owner: 'a', id: 1 }, { head: '{}', content: { blobId: named } });
  await scene.invocations.put({ owner: 'a', id: 2 }, { head: '{}', content: { blobId: another } });
  await scene.invocations.put({ owner: 'b', id: 3 }, { head: '{}', content: Buffer.from('ab') });
  expect(await scene.look('invocation-contents')).toEqual({ count: 2, bytes: 6 });
  expect(await scene.takeWhole('invocation-contents')).toMatchObject({ count: 2, bytes: 6 });
  expect(await scene.blobStates()).toEqual({
    ...{ [named]: 'stored', [another]: 'stored', [onItsWay]: 'stored', [task]: 'stored' },
    ...{ [replaced]: 'deleting', [neverPut]: 'deleting' },
  });
  expect(await scene.takeWhole('invocation-contents')).toMatchObject({ count: 0 });
});

it('leaves a blob alone that is no content, whatever a store says', async () => {
  const blobId = await scene.row('stored', { id: randomUUID(), bytes: 3 });
  await scene.invocations.put({ owner: 'a', id: 1 }, { head: '{}', content: { blobId } });
  await age(week);
  await scene.take('invocations');
  expect(await scene.blobStates()).toEqual({ [blobId]: 'stored' });
});
