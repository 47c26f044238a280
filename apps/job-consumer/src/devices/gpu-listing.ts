import { AppError } from '@inference-server/errors';
import { readGpus, type FoundGpu } from './nvidia-smi-output.js';

/** Runs nvidia-smi, wherever that is. */
export type RunSmi = (args: string[]) => Promise<SmiRun>;

/** What one run of nvidia-smi came to. */
export interface SmiRun {
  /** Null: a signal ended it. */
  exitCode: number | null;
  output: string;
  /** Empty where it comes with the output. */
  errors: string;
}

/**
 * The GPUs that nvidia-smi tells of. When it fails on all of them together, which one that has fallen off
 * its bus is enough for, each is asked for alone: those that answer are there. Throws AppError with its last
 * words when none does, and when its answer is not understood.
 */
export async function listGpus(run: RunSmi): Promise<FoundGpu[]> {
  const report = await run(['-q', '-x']);
  if (tellsOfNone(report)) return [];
  if (report.exitCode !== 0 && !ofDriver.test(report.errors + report.output)) {
    const alone = await listOneByOne(run);
    if (alone.length > 0) return alone;
  }
  const xml = outputOf(report);
  return readGpus(xml, outputOf(await run(['-L'])));
}

async function listOneByOne(run: RunSmi): Promise<FoundGpu[]> {
  const found: FoundGpu[] = [];
  for (let index = 0; index < mostGpus; index += 1) {
    const one = ['-i', `${index}`];
    const report = await run(['-q', '-x', ...one]);
    if (tellsOfNone(report)) break;
    if (report.exitCode !== 0) continue;
    const list = await run(['-L', ...one]);
    found.push(...readGpus(report.output, list.exitCode === 0 ? list.output : ''));
  }
  return found;
}

/** It is not a GPU that is in trouble, and each alone would say the same. */
const ofDriver = /failed to initialize NVML|communicate with the NVIDIA driver/i;

/** More than a host has. */
const mostGpus = 32;

/** A driver without a GPU, or without one of that number: the code is of a query that has found nothing. */
function tellsOfNone({ exitCode, output }: SmiRun): boolean {
  return exitCode === 6 && /no devices were found/i.test(output);
}

/** Throws AppError when it failed. */
export function outputOf({ exitCode, output, errors }: SmiRun): string {
  if (exitCode === 0) return output;
  const how = exitCode === null ? 'was ended by a signal' : `ended with ${exitCode}`;
  // Some of its complaints come as output.
  const words = lastWords(errors) || lastWords(output) || 'it said nothing';
  throw new AppError('INTERNAL', `nvidia-smi ${how}: ${words}`);
}

function lastWords(text: string): string {
  return text
    .trim()
    .split(/\s*\n\s*/)
    .slice(-3)
    .join(' ')
    .slice(-300);
}
