import { mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Machine } from '@inference-server/testing';
import { benchmarkNames, type BenchmarkName, type Options } from './options.js';

export type Unit = 'ms' | 'KiB' | 'MiB' | 'MiB/s' | '1/s' | '×';

/** One line of the table. */
export interface Figure {
  what: string;
  value: number;
  unit: Unit;
  /** What the project wants of it; most figures are there to be compared with another. */
  goal?: { atMost: number } | { atLeast: number };
}

export interface Measurement {
  name: BenchmarkName;
  /** Sizes and counts that the figures depend on. */
  settings: Record<string, number | string>;
  figures: Figure[];
  /** What the figures were made of, in the order in which it was measured. */
  samples: Record<string, readonly number[]>;
}

export interface Report {
  /** ISO 8601. */
  date: string;
  quick: boolean;
  machine: Machine;
  measurements: Measurement[];
}

/**
 * Writes the report under a name made of its date: to benchmarks/results when it shall be kept, else
 * to the folder `local` in there, which git ignores. Returns the path.
 */
export async function writeReport(
  report: Report,
  { only, keep }: Pick<Options, 'only' | 'keep'>,
): Promise<string> {
  const folder = new URL(keep ? '../results/' : '../results/local/', import.meta.url);
  const parts = [
    report.date.slice(0, 19).replaceAll(':', ''),
    ...(only.length === benchmarkNames.length ? [] : only),
    ...(report.quick ? ['quick'] : []),
  ];
  const path = fileURLToPath(new URL(`${parts.join('-')}.json`, folder));
  await mkdir(folder, { recursive: true });
  await writeFile(path, `${JSON.stringify(report, rounded, 1)}\n`);
  return path;
}

/** More digits than these say nothing. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === 'number' ? Number(value.toFixed(3)) : value;
}
