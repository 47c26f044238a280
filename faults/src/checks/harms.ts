import type { StrokeResult } from '../faults/strike.js';
import type { TaskRecord } from '../load/caller.js';

/** What was found, by kind: how much of each. */
export interface Harms {
  lost: number;
  doubled: number;
  leftOver: number;
  wrong: number;
  missing: number;
}

export const kindsOfHarm = ['lost', 'doubled', 'leftOver', 'wrong', 'missing'] as const;
type Kind = (typeof kindsOfHarm)[number];

export const noHarm: Harms = { lost: 0, doubled: 0, leftOver: 0, wrong: 0, missing: 0 };

export function sumOfHarms(all: readonly Harms[]): Harms {
  const sum = { ...noHarm };
  for (const harms of all) for (const kind of kindsOfHarm) sum[kind] += harms[kind];
  return sum;
}

/**
 * Each finding, which names a task by its uid or its number, for every stroke under which that task was
 * under way; `unmatched` are those of which no stroke can be told: none is left out.
 */
export function harmsOf(
  strokes: readonly StrokeResult[],
  records: readonly TaskRecord[],
  findings: Readonly<Record<Kind, readonly string[]>>,
): { byStroke: Map<StrokeResult, Harms>; unmatched: Harms } {
  const byStroke = new Map<StrokeResult, Harms>();
  const unmatched = { ...noHarm };
  for (const kind of kindsOfHarm) {
    for (const finding of findings[kind]) {
      const named = records.filter((record) => isNamed(record, finding));
      const struck = strokes.filter((stroke) => named.some((record) => isUnderWay(record, stroke)));
      if (struck.length === 0) unmatched[kind] += 1;
      for (const stroke of struck) {
        const harms = byStroke.get(stroke) ?? { ...noHarm };
        harms[kind] += 1;
        byStroke.set(stroke, harms);
      }
    }
  }
  return { byStroke, unmatched };
}

function isNamed({ number, uids }: TaskRecord, finding: string): boolean {
  return finding.includes(`task ${number} (`) || [...uids].some((uid) => finding.includes(uid));
}

function isUnderWay(
  { postedAt, end }: TaskRecord,
  { from, until }: Pick<StrokeResult, 'from' | 'until'>,
): boolean {
  return postedAt <= until && (end?.at ?? Infinity) >= from;
}
