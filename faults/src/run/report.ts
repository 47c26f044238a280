import { writeFile } from 'node:fs/promises';
import type { Machine } from '@inference-server/testing';
import { groupBy } from '../checks/groups.js';
import { kindsOfHarm, noHarm, sumOfHarms, type Harms } from '../checks/harms.js';
import { allPhases, type Phase } from '../faults/fault.js';
import type { StrokeResult } from '../faults/strike.js';
import type { Invariant } from './invariants.js';

/** What a fault in a phase has come to. The harms are of the tasks that were under way meanwhile. */
export interface Cell extends Harms {
  fault: string;
  phase: Phase;
  times: number;
  /** How often a process was met in the phase, and the fault proved to have happened. */
  hit: number;
  /** From the end of the harm until the task that was met, and a new one, had ended (ms). */
  recoveryMs: { median: number; worst: number } | undefined;
}

/** What a fault has come to in all its phases. */
export interface Row extends Harms {
  fault: string;
  /** How often it has hit in each phase in which it struck, in the order of a task's life. */
  hits: Partial<Record<Phase, number>>;
  /** Those in which it has done any harm. */
  harmedIn: Phase[];
  recoveryMs: { median: number; worst: number } | undefined;
}

export interface Report {
  /** ISO 8601. */
  date: string;
  seed: string;
  form: 'short' | 'soak';
  only: readonly string[];
  machine: Machine;
  seconds: number;
  tasks: { acknowledged: number; byEnd: Record<string, number>; byKind: Record<string, number> };
  invariants: Invariant[];
  recoveryMs: { median: number; worst: number } | undefined;
  branches: Record<string, number>;
  startedAgain: Record<string, number>;
  table: Cell[];
  rows: Row[];
  /** What was found of which no stroke can be told. */
  unmatched: Harms;
  strokes: StrokeResult[];
}

export function isSound({ invariants }: Pick<Report, 'invariants'>): boolean {
  return invariants.every(({ broken }) => broken.length === 0);
}

/** As it is told at the end of a run. The last line counts what had to hold. */
export function linesOf({
  invariants,
  recoveryMs,
  tasks,
  strokes,
  seconds,
  seed,
}: Pick<Report, 'invariants' | 'recoveryMs' | 'tasks' | 'strokes' | 'seconds' | 'seed'>): string[] {
  const inSeconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
  const failed = invariants.filter(({ broken }) => broken.length > 0).length;
  return [
    `${strokes.length} faults, ${tasks.acknowledged} tasks, ${seconds} s, seed ${seed}`,
    ...(recoveryMs === undefined
      ? []
      : [`recovery: median ${inSeconds(recoveryMs.median)}, worst ${inSeconds(recoveryMs.worst)}`]),
    ...invariants.flatMap(({ name, figure, broken }) => [
      `${broken.length === 0 ? '✓' : '✗'} ${name}: ${figure}`,
      ...broken.map((what) => `    ${what}`),
    ]),
    `${invariants.length - failed} passed, ${failed} failed`,
  ];
}

export async function writeReport(report: Report, path: string): Promise<void> {
  await writeFile(path, `${JSON.stringify(report, undefined, 1)}\n`);
}

/** In the order of the strokes. */
export function tableOf(
  strokes: readonly StrokeResult[],
  harms: ReadonlyMap<StrokeResult, Harms>,
): Cell[] {
  const cells = groupBy(strokes, ({ fault, phase }) => `${phase}: ${fault}`);
  return [...cells.values()].flatMap((of) => {
    const [first] = of;
    if (first === undefined) return [];
    return {
      fault: first.fault,
      phase: first.phase,
      times: of.length,
      hit: of.filter(({ hit, proofs }) => hit !== undefined && proofs.length > 0).length,
      ...sumOfHarms(of.map((stroke) => harms.get(stroke) ?? noHarm)),
      recoveryMs: medianAndWorst(of),
    };
  });
}

/** A row for each fault, by their names. */
export function rowsOf(table: readonly Cell[], strokes: readonly StrokeResult[]): Row[] {
  const faults = [...groupBy(table, ({ fault }) => fault)].sort(([a], [b]) => (a < b ? -1 : 1));
  return faults.map(([fault, of]) => {
    const inOrder = allPhases.flatMap((phase) => of.filter((cell) => cell.phase === phase));
    const isHarmed = (cell: Cell) => kindsOfHarm.some((kind) => cell[kind] > 0);
    return {
      fault,
      hits: Object.fromEntries(inOrder.map(({ phase, hit }) => [phase, hit])),
      ...sumOfHarms(of),
      harmedIn: inOrder.filter(isHarmed).map(({ phase }) => phase),
      recoveryMs: medianAndWorst(strokes.filter((stroke) => stroke.fault === fault)),
    };
  });
}

/** Of those that were made and undone; of an even number the median lies between the two in the middle. */
export function medianAndWorst(
  strokes: readonly Pick<StrokeResult, 'recoveryMs' | 'trouble'>[],
): { median: number; worst: number } | undefined {
  const times = strokes
    .flatMap(({ recoveryMs, trouble }) =>
      recoveryMs === undefined || trouble !== undefined ? [] : [recoveryMs],
    )
    .sort((a, b) => a - b);
  const worst = times.at(-1);
  const lower = times[Math.floor((times.length - 1) / 2)];
  const upper = times[Math.floor(times.length / 2)];
  if (worst === undefined || lower === undefined || upper === undefined) return undefined;
  return { median: Math.round((lower + upper) / 2), worst };
}
