import { expect, it } from 'vitest';
import { noHarm } from '../src/checks/harms.js';
import type { StrokeResult } from '../src/faults/strike.js';
import { joinReports } from '../src/run/join-reports.js';
import { isSound, linesOf, tableOf, type Report } from '../src/run/report.js';

const ways = 'ways back that were taken';

it('puts the strokes of all worlds in their order, and adds up what they have come to', () => {
  const joined = joinReports([reportOf([1, 3], 40), reportOf([2, 4], 60)], false);
  expect(joined.strokes.map(({ number }) => number)).toEqual([1, 2, 3, 4]);
  expect(joined.tasks).toEqual({ acknowledged: 100, byEnd: { FINISHED: 100 }, byKind: {} });
  expect(joined.seconds).toBe(60);
  expect(joined.recoveryMs).toEqual({ median: 2_500, worst: 4_000 });
  expect(joined.table).toMatchObject([{ fault: 'a kill', times: 4, hit: 4, lost: 2 }]);
  expect(joined.rows).toMatchObject([{ fault: 'a kill', hits: { run: 4 }, lost: 2 }]);
  expect(joined.unmatched).toEqual({ ...noHarm, leftOver: 2 });
  expect(joined.startedAgain).toEqual({ 'a kill': 2 });
  expect(linesOf(joined)[0]).toBe('4 faults, 100 tasks, 60 s, seed 7');
});

it('wants an invariant to hold in every world', () => {
  const sound = reportOf([1], 1);
  const broken = reportOf([2], 1, { broken: ['uid: RUNNING'] });
  expect(isSound(joinReports([sound, sound], false))).toBe(true);
  for (const pair of [
    [sound, broken],
    [broken, sound],
  ] as const) {
    const joined = joinReports([...pair], false);
    expect(isSound(joined)).toBe(false);
    expect(joined.invariants[0]).toEqual({
      name: 'none lost',
      figure: '1 of 1; 1 of 1',
      broken: ['uid: RUNNING'],
    });
    expect(linesOf(joined).at(-1)).toBe('1 passed, 1 failed');
  }
});

it('wants each way back to have been taken in one of them, of the whole of a soak', () => {
  const [one, other] = [
    reportOf([1], 1),
    reportOf([2], 1, { branches: { adopted: 0, parked: 2 } }),
  ];
  const wayOf = (reports: [Report, Report], isWhole: boolean) =>
    joinReports(reports, isWhole).invariants.find(({ name }) => name === ways);
  expect(wayOf([one, other], true)).toEqual({ name: ways, figure: '2 of 2', broken: [] });
  expect(wayOf([one, one], true)).toEqual({ name: ways, figure: '1 of 2', broken: ['parked'] });
  expect(wayOf([one, one], false)?.broken).toEqual([]);
});

function reportOf(
  numbers: number[],
  tasks: number,
  { broken = [] as string[], branches = { adopted: 1, parked: 0 } } = {},
): Report {
  const strokes = numbers.map(strokeOf);
  const table = tableOf(
    strokes,
    new Map(strokes.slice(0, 1).map((one) => [one, { ...noHarm, lost: 1 }])),
  );
  return {
    ...{ date: '2026-11-22T00:00:00Z', seed: '7', form: 'soak', only: [], seconds: tasks },
    machine: {} as Report['machine'],
    tasks: { acknowledged: tasks, byEnd: { FINISHED: tasks }, byKind: {} },
    invariants: [
      { name: 'none lost', figure: '1 of 1', broken },
      { name: ways, figure: '1 of 2', broken: [] },
    ],
    recoveryMs: undefined,
    branches,
    startedAgain: { 'a kill': 1 },
    ...{ table, rows: [], unmatched: { ...noHarm, leftOver: 1 }, strokes },
  };
}

function strokeOf(number: number): StrokeResult {
  const hit = { point: 'container_started', process: 'a', pid: 1, at: '', task: 'uid' } as const;
  return {
    ...{ number, fault: 'a kill', phase: 'run', hit, evidence: [], proofs: [{ what: 'ended' }] },
    ...{ excuses: [], from: 0, until: 1, recoveryMs: number * 1_000, trouble: undefined },
  };
}
