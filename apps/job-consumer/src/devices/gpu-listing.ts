import { AppError } from '@inference-server/errors';
import { readGpus, type FoundGpu } from './nvidia-smi-output.js';

/** What one run of nvidia-smi came to. */
export interface SmiRun {
  /** Null: a signal ended it. */
  exitCode: number | null;
  output: string;
  /** Empty where it comes with the output. */
  errors: string;
}

/**
 * The GPUs that nvidia-smi tells of, wherever `run` runs it. Throws AppError with its last words when
 * it fails, and when its answer is not understood.
 */
export async function listGpus(run: (args: string[]) => Promise<SmiRun>): Promise<FoundGpu[]> {
  const report = await run(['-q', '-x']);
  if (tellsOfNone(report)) return [];
  const xml = outputOf(report);
  return readGpus(xml, outputOf(await run(['-L'])));
}

/** A driver without a GPU: the code is of a query that has found nothing. */
function tellsOfNone({ exitCode, output }: SmiRun): boolean {
  return exitCode === 6 && /no devices were found/i.test(output);
}

function outputOf({ exitCode, output, errors }: SmiRun): string {
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
