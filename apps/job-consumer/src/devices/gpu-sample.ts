import { onlyOf, outputOf, type RunSmi, type SmiRun } from './gpu-listing.js';

/** What the GPUs of a host do at one moment. */
export interface GpuSample {
  /** Those that the caller of nvidia-smi can see: on a host all, in a container its own. */
  processes: readonly GpuProcess[];
  /** Percent of the last second or less in which it was busy, by UUID. Slices tell none. */
  utilization: ReadonlyMap<string, number>;
}

/** What a process has of the memory of one GPU: it comes once for each that it uses. */
export interface GpuProcess {
  pid: number;
  /** Of a slice it may be the GPU's. */
  gpu: string;
  memoryMib: number;
}

/**
 * Neither asks for names of programs, which are anybody's text. One GPU that does not answer makes nvidia-smi
 * fail: what it says of the others counts, and where that is nothing, those that `answering` names are asked for
 * alone. Throws AppError when it fails and says nothing.
 */
export async function sampleGpus(
  run: RunSmi,
  answering: readonly string[] = [],
): Promise<GpuSample> {
  const query = async (what: string) => {
    const question = [`--query-${what}`, '--format=csv,noheader,nounits'];
    let answer = await run(question);
    if (!isTold(answer) && answering.length > 0) {
      answer = await run([...question, ...onlyOf(answering)]);
    }
    return { rows: rowsOf(answer.output), failure: isTold(answer) ? undefined : answer };
  };
  const { rows: processes, failure } = await query('compute-apps=gpu_uuid,pid,used_memory');
  const { rows: gpus, failure: other } = await query('gpu=uuid,utilization.gpu');
  if (failure !== undefined && other !== undefined) outputOf(failure);
  return {
    processes: processes.flatMap(([gpu = '', pid = '', mib = '']) =>
      isNumber(pid) && isNumber(mib) ? [{ gpu, pid: Number(pid), memoryMib: Number(mib) }] : [],
    ),
    utilization: new Map(
      gpus.flatMap(([uuid = '', percent = '']) =>
        isNumber(percent) ? [[uuid, Math.min(100, Number(percent))] as const] : [],
      ),
    ),
  };
}

function isTold({ exitCode, output }: SmiRun): boolean {
  return exitCode === 0 || rowsOf(output).some(([uuid]) => uuid?.startsWith('GPU-'));
}

/** A line that is none (warnings, or that there is nothing) has no numbers where they should be. */
function rowsOf(csv: string): string[][] {
  return csv.split(/\r?\n/).map((line) => line.split(',').map((field) => field.trim()));
}

/** What is not known stands there in words: [N/A], [Not Supported], and others. */
function isNumber(text: string): boolean {
  return /^\d{1,9}$/.test(text);
}
