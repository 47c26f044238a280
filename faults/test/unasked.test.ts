import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findUnasked } from '../src/checks/unasked.js';
import { recordOf } from './records.js';
import { openRows, type NewTask, type Rows } from './rows.js';

const postedAt = 1_000_000_000_000;
const unanswered = recordOf({ key: undefined, uids: new Set(), postedAt });
let rows: Rows;
let script: string;

beforeAll(async () => {
  rows = await openRows();
  script = await rows.version({ name: 'script' });
});
beforeEach(() => rows.clear());

const made = (task: Partial<NewTask> = {}) =>
  rows.task({ state: 'FINISHED', version: script, createdAt: postedAt + 100, ...task });

it('finds nothing where each task is known, or one of a post that was not answered', async () => {
  const record = recordOf({ uids: new Set([await made()]) });
  expect(await findUnasked(rows, [record])).toEqual([]);
  expect(await findUnasked(rows, [record, unanswered])).toEqual([]);
  await made({ state: 'CANCELLED' });
  expect(await findUnasked(rows, [record, unanswered])).toEqual([]);
  await made({ owner: 'clinic' });
  const other = { ...unanswered, owner: 'clinic' };
  expect(await findUnasked(rows, [record, other, unanswered])).toEqual([]);
});

it('finds a task that was made twice, though its caller knows of one', async () => {
  const record = recordOf({ uids: new Set([await made()]) });
  const one = await made();
  expect(await findUnasked(rows, [record])).toEqual([unasked(one)]);
  const two = await made({ state: 'FAILED' });
  expect(await findUnasked(rows, [record, unanswered])).toEqual([unasked(two)]);
});

describe('finds one although an answer was lost, which is', () => {
  it.each<[string, Partial<NewTask>]>([
    ['of before the post', { createdAt: postedAt - 1_500 }],
    ['of long after it', { createdAt: postedAt + 122_000 }],
    ['of another owner', { owner: 'clinic' }],
  ])('%s', async (_what, task) => {
    const uid = await made(task);
    expect(await findUnasked(rows, [unanswered])).toEqual([unasked(uid)]);
  });

  it('to another model', async () => {
    const uid = await made({ version: await rows.version() });
    expect(await findUnasked(rows, [unanswered])).toEqual([unasked(uid)]);
  });
});

it.each(['PENDING', 'QUEUED', 'RUNNING'] as const)('finds one that stays %s', async (state) => {
  const uid = await made({ state });
  expect(await findUnasked(rows, [unanswered])).toEqual([
    `${uid}, of which no caller knows: ${state}`,
  ]);
});

function unasked(uid: string): string {
  return `${uid}: no post without an answer has made it`;
}
