import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { checkTasks } from '../src/checks/check-tasks.js';
import type { Excuse, Span } from '../src/checks/excuses.js';
import type { TaskRecord } from '../src/load/caller.js';
import {
  endOf,
  excuse,
  fails,
  finishes,
  listsOf,
  meddled,
  only,
  output,
  recordOf,
  seen,
  startOf,
  type Lists,
} from './records.js';
import { newUid, openRows, type NewTask, type Rows } from './rows.js';

let rows: Rows;
let retried: string;

beforeAll(async () => {
  rows = await openRows();
  retried = await rows.version({ retries: 1 });
});
beforeEach(() => rows.clear());

const failed = { outcome: 'failed', reason: 'exit_code' } as const;
const lost = { outcome: 'lost', reason: 'lease_lost' } as const;

/** A task as its row, its caller and its engine tell of it: where nothing is said, a finished one. */
interface Told {
  row?: Partial<NewTask>;
  record?: Partial<TaskRecord>;
  /** The attempts whose container was started. Default: all. */
  starts?: readonly number[];
  /** Default: at any time. */
  excuses?: readonly Excuse[];
  /** Default: at any time. */
  faults?: readonly Span[];
}
const anyTime: readonly Span[] = [{ fault: 'a kill', from: 0, until: Infinity }];
const always = [excuse(0, Infinity)];

const soundFailure: Told = {
  row: { state: 'FAILED', attempts: [failed] },
  record: { plan: fails, end: seen('FAILED', 'exit_code'), output: undefined },
};
const soundCancel: Told = {
  row: { state: 'CANCELLED', attempts: [{ outcome: 'cancelled' }] },
  record: { plan: meddled, meddled: 'cancel', end: seen('CANCELLED'), output: undefined },
};
const soundDelete: Told = {
  row: { state: 'CANCELLED', attempts: [{ outcome: 'cancelled' }], deleted: true },
  record: { plan: meddled, meddled: 'delete', end: seen('GONE'), output: undefined },
};

describe('a sound run', () => {
  it.each<[string, Told]>([
    ['finished', {}],
    ['finished, and given no key', { record: { key: undefined } }],
    ['failed', soundFailure],
    ['cancelled while it ran', soundCancel],
    [
      'cancelled while it waited',
      { ...soundCancel, row: { state: 'CANCELLED', attempts: [] }, starts: [] },
    ],
    ['finished before its cancel', { record: { plan: meddled } }],
    ['deleted while it ran', soundDelete],
    [
      'deleted after its output was fetched',
      { row: { deleted: true }, record: { meddled: 'delete' } },
    ],
    [
      'started again after a lost lease',
      { row: { attempts: [lost, { outcome: 'finished' }] }, starts: [1, 2] },
    ],
    [
      'claimed again before it was started',
      { row: { attempts: [lost, { outcome: 'finished' }] }, starts: [2] },
    ],
    [
      'never answered to a caller without a key',
      {
        record: { key: undefined, uids: new Set(), end: undefined, output: undefined },
        starts: [],
      },
    ],
  ])('finds nothing wrong with one that is %s', async (_what, told) => {
    expect(await findingsOf(told)).toEqual({});
  });

  it('finds nothing wrong with a retry that the model asks for', async () => {
    const row = { state: 'FAILED', version: retried, attempts: [failed, failed] } as const;
    const told: Told = { ...soundFailure, row, starts: [1, 2], excuses: [] };
    expect(await findingsOf(told)).toEqual({});
  });

  it('is counted', async () => {
    const one = await tell({});
    const two = await tell(soundFailure);
    const again = await tell({
      row: {
        attempts: [lost, { outcome: 'released' }, { outcome: 'fault', reason: 'engine' }, {}],
      },
      starts: [1, 2, 3, 4],
    });
    const retry = await tell({
      ...soundFailure,
      row: { state: 'FAILED', version: retried, attempts: [failed, { ...failed, exitCode: 3 }] },
    });
    const all = [one, two, again, retry];
    const findings = await checkTasks(
      rows,
      [one.record, two.record],
      all.flatMap(({ events }) => events),
      always,
      anyTime,
    );
    expect(findings).toEqual({
      acknowledged: 2,
      lost: [],
      wrong: [],
      doubled: [],
      startedTwice: [],
      untold: [],
      runs: 1,
      unasked: 1,
      memory: { runs: 0, unheard: [] },
      startedAgain: { 'a kill': 3, 'the model asked for it': 1 },
      ends: { FINISHED: 1, FAILED: 1 },
    });
  });
});

describe('finds as lost', () => {
  it('an acknowledged uid without a row', async () => {
    const uids = new Set([newUid()]);
    expect(await findingsOf({ record: { uids }, starts: [] })).toEqual(only('lost', 'no row'));
  });

  it.each(['PENDING', 'QUEUED', 'RUNNING'] as const)('a task that stays %s', async (state) => {
    const row = { state, attempts: [{}] };
    expect(await findingsOf({ row })).toEqual(only('lost', state));
  });
});

describe('finds as wrong', () => {
  it.each<[string, Told, string]>([
    [
      'an end that its plan has not',
      { row: soundFailure.row!, record: { end: seen('FAILED', 'exit_code') } },
      'ended FAILED exit_code',
    ],
    [
      'an end that its plan has not, of one that was to fail',
      { record: { plan: { ...fails, output } } },
      'ended FINISHED',
    ],
    [
      'the end of one that was to be started in time',
      { row: { state: 'EXPIRED', attempts: [] }, record: { end: seen('EXPIRED') }, starts: [] },
      'ended EXPIRED',
    ],
    [
      'another reason',
      {
        row: { state: 'FAILED', attempts: [{ outcome: 'failed', reason: 'timed_out' }] },
        record: { ...soundFailure.record, end: seen('FAILED', 'timed_out') },
      },
      'ended FAILED timed_out',
    ],
    [
      'another reason than its caller was told',
      { ...soundFailure, record: { ...soundFailure.record, end: seen('FAILED', 'timed_out') } },
      'seen for timed_out, is for exit_code',
    ],
    [
      'a failure whose caller was told no reason',
      { ...soundFailure, record: { ...soundFailure.record, end: seen('FAILED') } },
      'seen for nothing, is for exit_code',
    ],
    ['an output of other bytes', { record: { output: { ...output, result: 'ab' } } }, 'its output'],
    ['a file more', { record: { output: { ...output, more: 'aa' } } }, 'its output'],
    ['a file less', { record: { output: { result: 'aa' } } }, 'its output'],
    ['a file of another name', { record: { output: { result: 'aa', log: 'bb' } } }, 'its output'],
    ['no file at all', { record: { output: {} } }, 'its output'],
    ['no output', { record: { output: undefined } }, 'its output'],
    ['a caller who never heard of the end', { record: { end: undefined } }, 'never heard'],
    [
      'a caller who saw another end',
      { record: { end: seen('FAILED') } },
      'seen FAILED, is FINISHED',
    ],
    [
      'a caller who saw an output of one that failed',
      { ...soundFailure, record: { plan: { ...fails, output }, end: seen('FINISHED'), output } },
      'seen FINISHED, is FAILED',
    ],
    ['a caller who saw none where one is', { record: { end: seen('GONE') } }, 'seen GONE'],
    ['one that was deleted and is not', { record: { meddled: 'delete' } }, 'is not deleted'],
    ['one that is deleted although nobody asked', { row: { deleted: true } }, 'is deleted'],
    [
      'one that was deleted in place of cancelled',
      { ...soundCancel, row: { ...soundCancel.row, deleted: true } },
      'is deleted',
    ],
    [
      'one that finished although its cancel was taken',
      { record: { plan: meddled, meddled: 'cancel' } },
      'was cancelled, ended FINISHED',
    ],
    [
      'one that was cancelled although nobody asked',
      { ...soundCancel, record: { ...soundCancel.record, plan: finishes, meddled: undefined } },
      'ended CANCELLED',
    ],
    [
      'one that finished without an accepted output',
      { row: { attempts: [lost] } },
      'FINISHED with 0 accepted outputs',
    ],
    [
      'an accepted output of one that was cancelled',
      { ...soundCancel, row: { state: 'CANCELLED', attempts: [{ outcome: 'finished' }] } },
      'CANCELLED with 1 accepted outputs',
    ],
    [
      'a fault of the code, though another attempt has healed it',
      {
        row: { attempts: [{ outcome: 'fault', reason: 'internal' }, { outcome: 'finished' }] },
        starts: [2],
      },
      'attempt 1 met internal',
    ],
    ['an answer that no caller should get', { record: { wrongAnswers: ['INTERNAL'] } }, 'INTERNAL'],
    [
      'a caller with a key who was never answered',
      { record: { uids: new Set(), end: undefined, output: undefined }, starts: [] },
      'never answered',
    ],
  ])('%s', async (_what, told, text) => {
    expect(await findingsOf(told)).toEqual(only('wrong', text));
  });
});

describe('finds as doubled', () => {
  it('two tasks for one key', async () => {
    const [one, two] = [await tell({}), await tell({})];
    const uids = new Set([...one.record.uids, ...two.record.uids]);
    const events = [...one.events, ...two.events];
    const findings = await checkTasks(rows, [{ ...one.record, uids }], events, [], []);
    expect(listsOf(findings)).toEqual(only('doubled', '2 tasks for one key'));
    expect(findings.acknowledged).toBe(2);
  });

  it('one task for two keys', async () => {
    const { record, events } = await tell({});
    const other = { ...record, number: 8, key: 'task-8' };
    const findings = await checkTasks(rows, [record, other], events, [], []);
    expect(listsOf(findings)).toEqual(only('doubled', 'task 8 (test) and task 7 (test): both are'));
  });

  it('two finished attempts of one task', async () => {
    const row = { attempts: [{ outcome: 'finished' }, { outcome: 'finished' }] } as const;
    expect(await findingsOf({ row })).toEqual({
      ...only('doubled', '2 accepted outputs'),
      ...only('startedTwice', 'again after attempt 1, finished'),
    });
  });
});

describe('finds as started twice', () => {
  const last = { outcome: 'finished' } as const;

  it('an attempt that was started twice', async () => {
    expect(await findingsOf({ starts: [1, 1] })).toEqual(
      only('startedTwice', 'attempt 1 was started 2 times'),
    );
  });

  it('a second attempt after one that had finished, though it was given up', async () => {
    const told: Told = { row: { attempts: [last, { outcome: 'released' }] }, starts: [1, 2] };
    expect(await findingsOf(told)).toEqual(only('startedTwice', 'again after attempt 1, finished'));
  });

  it.each<[string, NonNullable<NewTask['attempts']>[number]]>([
    ['that was cancelled', { outcome: 'cancelled' }],
    ['that has no end', {}],
    ['that failed, without a retry of the model', failed],
  ])('a second attempt after one %s', async (_what, first) => {
    const told: Told = { row: { attempts: [first, last] }, starts: [1, 2] };
    const text = `again after attempt 1, ${first.outcome ?? 'no end'}`;
    expect(await findingsOf(told)).toEqual(only('startedTwice', text));
    // Also when the engine's word of it was lost.
    expect(await findingsOf({ ...told, starts: [] })).toEqual(only('startedTwice', text));
  });

  it('a retry more than the model asks for', async () => {
    const told: Told = {
      row: { version: retried, attempts: [failed, lost, failed, last] },
      starts: [1, 3, 4],
    };
    expect(await findingsOf(told)).toEqual(only('startedTwice', 'again after attempt 3, failed'));
  });

  describe('a container again while nothing was lost:', () => {
    const row = { attempts: [{ ...lost, from: 1_000, until: 2_000 }, last] };

    it.each([
      ['never', []],
      ['before', [excuse(0, 999)]],
      ['after', [excuse(2_001, 3_000)]],
      ['before and after', [excuse(0, 999), excuse(2_001, Infinity)]],
      ['but of another consumer', [{ ...excuse(0, Infinity), consumers: ['another'] }]],
    ])('%s', async (_when, excuses) => {
      const text = 'again after attempt 1 for no fault, lease_lost';
      expect(await findingsOf({ row, excuses })).toEqual(only('startedTwice', text));
    });

    it.each([
      ['in the midst of it', [excuse(1_400, 1_500)]],
      ['to its begin', [excuse(0, 1_000)]],
      ['from its end', [excuse(2_000, 3_000)]],
    ])('but not %s', async (_when, excuses) => {
      expect(await findingsOf({ row, excuses })).toEqual({});
    });

    it('where an engine may have forgotten its end, unless it did', async () => {
      const excuses = [{ ...excuse(0, Infinity), isOf: 'forgotten ends' as const }];
      const ended = (exitCode: number) => ({
        attempts: [{ outcome: 'fault', reason: 'interrupted', exitCode } as const, last],
      });
      const text = 'again after attempt 1 for no fault, interrupted';
      expect(await findingsOf({ row: ended(137), excuses })).toEqual(only('startedTwice', text));
      await rows.clear();
      expect(await findingsOf({ row: ended(255), excuses })).toEqual({});
    });

    it('nor when it was never started before', async () => {
      expect(await findingsOf({ row, starts: [2], excuses: [] })).toEqual({});
    });

    it('unless nothing at all was harmed at that time', async () => {
      const text = 'again after attempt 1 while nothing was harmed, lease_lost';
      const after = { fault: 'a kill', from: 2_001, until: 3_000 };
      for (const faults of [[], [after]]) {
        const told: Told = { row, starts: [2], excuses: [], faults };
        expect(await findingsOf(told)).toEqual(only('startedTwice', text));
      }
      expect(await findingsOf({ row, starts: [2], faults: [{ ...after, from: 2_000 }] })).toEqual(
        {},
      );
    });
  });

  it('a container that nobody has claimed', async () => {
    expect(await findingsOf({ starts: [1, 2] })).toEqual(
      only('startedTwice', 'attempt 2 was started, and never claimed'),
    );
    const findings = await checkTasks(rows, [], [startOf('nobody', 1)], [], []);
    expect(listsOf(findings)).toEqual(only('startedTwice', 'nobody: attempt 1 was started'));
  });

  it('nothing in starts of what is no model, nor in ends', async () => {
    const { record, events } = await tell({});
    const [start] = events;
    const others = [
      { ...start!, kind: 'probe' },
      { ...start!, action: 'die' as const },
      { ...start!, action: 'destroy' as const },
    ];
    const findings = await checkTasks(rows, [record], [...events, ...others], [], []);
    expect(listsOf(findings)).toEqual({});
  });
});

async function tell({ row, record, starts }: Told) {
  const task: NewTask = { state: 'FINISHED', attempts: [{ outcome: 'finished' }], ...row };
  const uid = await rows.task(task);
  const attempts = (task.attempts ?? []).map((attempt, at) => ({ ...attempt, number: at + 1 }));
  const numbers = starts ?? attempts.map(({ number }) => number);
  const ends = attempts.flatMap(({ number, exitCode }) =>
    exitCode === undefined ? [] : endOf(uid, number, exitCode),
  );
  return {
    record: recordOf({ uids: new Set([uid]), ...record }),
    events: [...numbers.map((number) => startOf(uid, number)), ...ends],
  };
}

/** The lists in which anything stands. */
async function findingsOf(told: Told): Promise<Lists> {
  const { record, events } = await tell(told);
  const { excuses = always, faults = anyTime } = told;
  return listsOf(await checkTasks(rows, [record], events, excuses, faults));
}
