import { execFile, type ChildProcess, type ExecFileException } from 'node:child_process';
import { AppError, systemCode, toAppError } from '@inference-server/errors';
import { joinSignals } from '@inference-server/service-kit';
import { listGpus, type GpuListing, type RunSmi, type SmiRun } from './gpu-listing.js';
import { sampleGpus, type GpuSample } from './gpu-sample.js';
import { maxAnswerBytes } from './nvidia-smi-output.js';

/** The driver's own program, on the host that this process runs on. */
export interface NvidiaSmi {
  /**
   * Undefined when there is no such program; empty when it knows of no GPU. Throws AppError when it fails,
   * takes too long, or answers what is not understood.
   */
  list(signal: AbortSignal): Promise<GpuListing | undefined>;
  /** Likewise. `answering`: the GPUs that did when they were listed. */
  sample(signal: AbortSignal, answering?: readonly string[]): Promise<GpuSample | undefined>;
}

export function createNvidiaSmi(options: {
  /** A name is looked for on the PATH of `environment`. */
  command?: string;
  environment: NodeJS.ProcessEnv;
  /** Of one run; a list takes two. */
  timeoutMs?: number;
}): NvidiaSmi {
  const { command = 'nvidia-smi', environment, timeoutMs = 20_000 } = options;

  /** Those that were killed and do not end: a sick driver holds them. More would share their fate. */
  const held = new Set<ChildProcess>();

  const run = async (args: string[], signal: AbortSignal): Promise<SmiRun> => {
    signal.throwIfAborted();
    if (held.size > 0) {
      throw new AppError('INTERNAL', 'An nvidia-smi that was killed has not ended yet.');
    }
    const bounds = joinSignals(signal, AbortSignal.timeout(timeoutMs));
    try {
      return await runProgram(command, args, { environment, held, signal: bounds.signal });
    } catch (error) {
      signal.throwIfAborted();
      if (!bounds.signal.aborted) throw toAppError(error, command);
      throw new AppError('INTERNAL', `nvidia-smi did not answer within ${timeoutMs / 1000} s.`);
    } finally {
      bounds.release();
    }
  };

  const ifThere = async <T>(ask: (run: RunSmi) => Promise<T>, signal: AbortSignal) => {
    try {
      return await ask((args) => run(args, signal));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  };
  return {
    list: (signal) => ifThere(listGpus, signal),
    sample: (signal, answering) => ifThere((run) => sampleGpus(run, answering), signal),
  };
}

/** Rejects with the signal's reason, and with an AppError when it could not be run, or said too much. */
function runProgram(
  command: string,
  args: string[],
  {
    environment,
    held,
    signal,
  }: { environment: NodeJS.ProcessEnv; held: Set<ChildProcess>; signal: AbortSignal },
): Promise<SmiRun> {
  return new Promise((resolve, reject) => {
    const options = { env: environment, maxBuffer: maxAnswerBytes, killSignal: 'SIGKILL' } as const;
    const child = execFile(command, args, options, (error, output, errors) => {
      signal.removeEventListener('abort', giveUp);
      if (error !== null && typeof error.code === 'string') reject(toAppError(error, command));
      else resolve({ exitCode: exitCodeOf(error), output, errors });
    });
    // Held in a call of a sick driver it does not end even when it is killed: nobody waits for that.
    const giveUp = () => {
      if (child.exitCode === null && child.signalCode === null) {
        held.add(child);
        child.once('exit', () => held.delete(child));
      }
      child.kill('SIGKILL');
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.unref();
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', giveUp, { once: true });
  });
}

function exitCodeOf(error: ExecFileException | null): number | null {
  if (error === null) return 0;
  return typeof error.code === 'number' ? error.code : null;
}
