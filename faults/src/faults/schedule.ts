import type { CrashPoint } from '@inference-server/service-kit';
import type { Random } from '../random.js';
import { clockFaults } from './clock-faults.js';
import { diskFaults } from './disk-faults.js';
import { engineFaults } from './engine-faults.js';
import { phases, type Fault, type Phase } from './fault.js';
import { imageFaults } from './image-faults.js';
import { networkFaults } from './network-faults.js';
import { processFaults } from './process-faults.js';
import { serviceFaults } from './service-faults.js';
import { ticketFaults } from './ticket-faults.js';

export const allFaults: readonly Fault[] = [
  ...processFaults,
  ...networkFaults,
  ...serviceFaults,
  ...engineFaults,
  ...diskFaults,
  ...clockFaults,
  ...ticketFaults,
  ...imageFaults,
];

/** One fault of a run, in one phase of a task. */
export interface Stroke {
  /** Counts from 1. */
  number: number;
  fault: Fault;
  phase: Phase;
  /** Where a process is stopped. */
  point: CrashPoint;
  /** Counts from 0. */
  round: number;
}

/**
 * Every fault in every phase that makes sense, `rounds` times, at one point of the phase after the other,
 * in an order that follows from the seed; of these `count`, beginning with the one of this number.
 */
export function makeSchedule(
  random: Random,
  {
    rounds,
    from,
    count,
    only,
  }: { rounds: number; from: number; count: number; only: readonly string[] },
): Stroke[] {
  const strokes: Omit<Stroke, 'number'>[] = [];
  const isWanted = (text: string) => only.length === 0 || only.some((part) => text.includes(part));
  for (let round = 0; round < rounds; round += 1) {
    const ofRound = allFaults.flatMap((fault) =>
      fault.phases
        .flatMap((phase) =>
          pointsOf(fault, phase, round).map((point) => ({ fault, phase, point, round })),
        )
        .filter((stroke) => isWanted(lineOf(stroke))),
    );
    strokes.push(...shuffled(ofRound, random));
  }
  return strokes
    .map((stroke, at) => ({ number: at + 1, ...stroke }))
    .slice(from - 1, from - 1 + count);
}

/** How a stroke is called, and asked for: `run: FLUSHALL (container_started)`. */
export function lineOf({ phase, fault, point }: Pick<Stroke, 'phase' | 'fault' | 'point'>): string {
  return `${phase}: ${fault.name} (${point})`;
}

function pointsOf({ isAtEveryPoint }: Fault, phase: Phase, round: number): readonly CrashPoint[] {
  const points: readonly CrashPoint[] = phases[phase];
  const one = round % points.length;
  return isAtEveryPoint ? points : points.slice(one, one + 1);
}

function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  return items
    .map((item) => ({ item, place: random.number() }))
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item);
}
