import { outputOf, type RunSmi } from './gpu-listing.js';

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
 * fail: what it says of the others counts. Throws AppError when it fails and says nothing.
 */
export async function sampleGpus(run: RunSmi): Promise<GpuSample> {
  const query = async (what: string) => {
    const answer = await run([`--query-${what}`, '--format=csv,noheader,nounits']);
    const rows = rowsOf(answer.output);
    const isTold = answer.exitCode === 0 || rows.some(([uuid]) => uuid?.startsWith('GPU-'));
    return { rows, failure: isTold ? undefined : answer };
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

/** A line that is none (warnings, or that there is nothing) has no numbers where they should be. */
function rowsOf(csv: string): string[][] {
  return csv.split(/\r?\n/).map((line) => line.split(',').map((field) => field.trim()));
}

/** What is not known stands there in words: [N/A], [Not Supported], and others. */
function isNumber(text: string): boolean {
  return /^\d{1,9}$/.test(text);
}
