import { describe, expect, it } from 'vitest';
import { harmsOf, noHarm } from '../src/checks/harms.js';
import type { StrokeResult } from '../src/faults/strike.js';
import { rowsOf, tableOf } from '../src/run/report.js';
import { recordOf, seen } from './records.js';

const nothing = { lost: [], doubled: [], leftOver: [], wrong: [], missing: [] };
const proofs = [{ what: 'seen' }];
const hit = { point: 'claim_won', process: 'a', pid: 1, at: '', task: 'uid' } as const;

describe('the harm of a stroke', () => {
  const [before, under, after] = [
    strokeOf({ from: 0, until: 9 }),
    strokeOf({}),
    strokeOf({ from: 21, until: 30 }),
  ];
  const strokes = [before, under, after];
  const record = recordOf({
    uids: new Set(['uid']),
    postedAt: 12,
    end: { ...seen('FINISHED'), at: 15 },
  });

  it('is what is found of the tasks that were under way', () => {
    const found = {
      ...nothing,
      lost: ['task 7 (test) uid: RUNNING'],
      leftOver: ['engine-a: x-uid-1 (run)'],
    };
    const { byStroke, unmatched } = harmsOf(strokes, [record], found);
    expect([...byStroke]).toEqual([[under, { ...noHarm, lost: 1, leftOver: 1 }]]);
    expect(unmatched).toEqual(noHarm);
  });

  it("is each stroke's, of a task that has no end", () => {
    const found = { ...nothing, wrong: ['task 7 (test): INTERNAL'], missing: ['uid was answered'] };
    const { byStroke } = harmsOf(strokes, [{ ...record, end: undefined }], found);
    const harms = { ...noHarm, wrong: 1, missing: 1 };
    expect([...byStroke]).toEqual([
      [under, harms],
      [after, harms],
    ]);
  });

  it('is told apart where it is of no task, or of no stroke', () => {
    const found = {
      ...nothing,
      leftOver: ['blob 1: a file without a row', 'staging 2'],
      doubled: ['uid'],
    };
    expect(harmsOf([before], [record], found)).toEqual({
      byStroke: new Map(),
      unmatched: { ...noHarm, leftOver: 2, doubled: 1 },
    });
  });
});

describe('the table', () => {
  const one = strokeOf({ recoveryMs: 3_000 });
  const two = strokeOf({ recoveryMs: 1_000, proofs: [] });
  const later = strokeOf({ phase: 'settle', recoveryMs: 2_000 });
  const another = strokeOf({ fault: 'another', hit: undefined, recoveryMs: undefined });
  const strokes = [later, one, two, another];
  const harms = new Map([
    [later, { ...noHarm, lost: 1 }],
    [one, { ...noHarm, wrong: 2 }],
    [two, { ...noHarm, wrong: 1 }],
  ]);
  const table = tableOf(strokes, harms);

  it('has a cell for each fault in each phase; only what is proved has hit', () => {
    expect(table).toEqual([
      {
        ...noHarm,
        fault: 'a kill',
        phase: 'settle',
        times: 1,
        hit: 1,
        lost: 1,
        recoveryMs: { median: 2_000, worst: 2_000 },
      },
      {
        ...noHarm,
        fault: 'a kill',
        phase: 'claim',
        times: 2,
        hit: 1,
        wrong: 3,
        recoveryMs: { median: 2_000, worst: 3_000 },
      },
      { ...noHarm, fault: 'another', phase: 'claim', times: 1, hit: 0, recoveryMs: undefined },
    ]);
  });

  it("has a row for each fault, its phases in the order of a task's life", () => {
    expect(rowsOf(table, strokes)).toEqual([
      {
        ...noHarm,
        ...{ fault: 'a kill', lost: 1, wrong: 3 },
        hits: { claim: 1, settle: 1 },
        harmedIn: ['claim', 'settle'],
        recoveryMs: { median: 2_000, worst: 3_000 },
      },
      { ...noHarm, fault: 'another', hits: { claim: 0 }, harmedIn: [], recoveryMs: undefined },
    ]);
    expect(Object.keys(rowsOf(table, strokes)[0]?.hits ?? {})).toEqual(['claim', 'settle']);
  });
});

function strokeOf(stroke: Partial<StrokeResult>): StrokeResult {
  return {
    number: 1,
    fault: 'a kill',
    phase: 'claim',
    hit,
    evidence: [],
    proofs,
    excuses: [],
    from: 10,
    until: 20,
    recoveryMs: 1,
    trouble: undefined,
    ...stroke,
  };
}
