import {
  discoveryContainer,
  EngineError,
  type ContainerEngine,
  type ContainerSpec,
  type Labels,
} from '@inference-server/container-engine';
import { AppError } from '@inference-server/errors';
import { joinSignals } from '@inference-server/service-kit';
import { uncut } from '../uncut.js';
import { listGpus, type SmiRun } from './gpu-listing.js';
import { maxAnswerBytes, type FoundGpu } from './nvidia-smi-output.js';

/**
 * The GPUs of the engine's host, for a consumer that has no driver's program of its own: the vendor's
 * hook brings it into a container. The engine must have the image. Throws AppError when no container can
 * have the GPUs, when the program is not in it, fails, or takes too long.
 */
export async function listGpusInContainer(
  engine: ContainerEngine,
  options: {
    image: string;
    /** Two containers, one after the other, have names that begin with it. */
    name: string;
    labels: Labels;
    /** Whom to ask for all of them: `all`, or a CDI name. */
    gpus?: string;
    /** Of one run; there are two. */
    timeoutMs?: number;
  },
  signal: AbortSignal,
): Promise<FoundGpu[]> {
  const { gpus = 'all', timeoutMs = 60_000, name, ...rest } = options;
  let count = 0;
  return listGpus((args) => {
    const command = ['nvidia-smi', ...args];
    const spec = discoveryContainer({ ...rest, name: `${name}-${(count += 1)}`, command, gpus });
    return runToEnd(engine, spec, timeoutMs, signal);
  });
}

async function runToEnd(
  engine: ContainerEngine,
  spec: ContainerSpec,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<SmiRun> {
  signal.throwIfAborted();
  const container = await engine.createContainer(spec, uncut);
  const bounds = joinSignals(signal, AbortSignal.timeout(timeoutMs));
  try {
    const start = await engine.startContainer(container, bounds.signal);
    if (!start.started) throw new EngineError('failed', start.startError);
    const { exitCode, startError } = await engine.waitForExit(container, bounds.signal);
    if (startError !== undefined) throw new EngineError('failed', startError);
    const log = await engine.readLogs(container, logLimits, bounds.signal);
    if (log.cut) throw new AppError('INTERNAL', 'nvidia-smi says more than 4 MiB in a container.');
    return { exitCode, output: log.text, errors: '' };
  } catch (error) {
    signal.throwIfAborted();
    if (!bounds.signal.aborted) throw error;
    const detail = `nvidia-smi did not end within ${timeoutMs / 1000} s in a container.`;
    throw new AppError('INTERNAL', detail, { cause: error });
  } finally {
    bounds.release();
    // One that stays has labels by which it is found.
    await engine.removeContainer(container, uncut).catch(() => undefined);
  }
}

const logLimits = { maxBytes: maxAnswerBytes, maxLines: 200_000 };
