import {
  EngineError,
  isEngineProblem,
  type ContainerEngine,
  type ContainerSpec,
} from '@inference-server/container-engine';
import { AppError } from '@inference-server/errors';
import { uncut } from '../uncut.js';
import { listGpus, type GpuListing, type RunSmi, type SmiRun } from './gpu-listing.js';
import { sampleGpus, type GpuSample } from './gpu-sample.js';
import { maxAnswerBytes } from './nvidia-smi-output.js';

/** The driver's program on the engine's host, for a process that has none of its own. */
export interface ContainedSmi {
  /**
   * Throws EngineError when no container can have the GPUs; AppError when the program is not in it, fails,
   * or takes too long.
   */
  list(signal: AbortSignal): Promise<GpuListing>;
  /** `answering`: the GPUs that did when they were listed. */
  sample(signal: AbortSignal, answering?: readonly string[]): Promise<GpuSample>;
  /** Removes the container; nothing is asked any more. Never rejects. */
  close(): Promise<void>;
}

/**
 * Runs it in a container that has all GPUs and only sleeps otherwise: the vendor's hook brings it there. One
 * that has ended, has lost its devices, or in which the program hangs, is replaced, and so is one that tells of
 * no GPU at all: a new one is believed. `specOf` is asked for
 * each; the engine must have its image.
 */
export function createContainedSmi(
  engine: ContainerEngine,
  specOf: (signal: AbortSignal) => Promise<ContainerSpec>,
  { timeoutMs = 60_000 }: { timeoutMs?: number } = {},
): ContainedSmi {
  let current: Promise<string> | undefined;
  let isClosed = false;
  /** Those that an engine could not remove: a sick driver holds them. More would share their fate. */
  const held = new Set<string>();

  const start = async (signal: AbortSignal): Promise<string> => {
    for (const container of held) await remove(container);
    if (held.size > 0) {
      throw new AppError('INTERNAL', 'A container for nvidia-smi cannot be removed.');
    }
    if (isClosed) throw new AppError('SERVICE_UNAVAILABLE', 'nvidia-smi is asked no more.');
    const container = await engine.createContainer(await specOf(signal), uncut);
    try {
      const outcome = await engine.startContainer(container, signal);
      if (!outcome.started) throw new EngineError('failed', outcome.startError);
      return container;
    } catch (error) {
      await remove(container);
      throw error;
    }
  };
  /** One that stays has labels by which it is found. */
  const remove = async (container: string): Promise<void> => {
    held.add(container);
    await engine.removeContainer(container, uncut).then(
      () => held.delete(container),
      () => undefined,
    );
  };
  const discard = async (used: Promise<string>): Promise<void> => {
    if (current === used) current = undefined;
    const container = await used.catch(() => undefined);
    if (container !== undefined) await remove(container);
  };

  /** Undefined: the container cannot be used any more. */
  const runOnce = async (args: string[], signal: AbortSignal): Promise<SmiRun | undefined> => {
    const used = (current ??= start(signal));
    const command = ['nvidia-smi', ...args];
    // One byte more than is read shows that there was more.
    const limits = { timeoutMs, maxBytes: maxAnswerBytes + 1 };
    try {
      const end = await engine.runCommand(await used, command, limits, signal);
      // What succeeds may have anybody's words in it.
      const isLost = end !== undefined && end.exitCode !== 0 && lostDevices.test(end.output);
      if (end !== undefined && !isLost) return { ...end, errors: '' };
    } catch (error) {
      await discard(used);
      if (!isEngineProblem(error, 'overdue')) throw error;
      const detail = `nvidia-smi did not end within ${timeoutMs / 1000} s in a container.`;
      throw new AppError('INTERNAL', detail, { cause: error });
    }
    await discard(used);
    return undefined;
  };
  const runIn =
    (signal: AbortSignal): RunSmi =>
    async (args) => {
      const first = await runOnce(args, signal);
      if (first !== undefined && !isEmptyList(args, first)) return first;
      if (first !== undefined && current !== undefined) await discard(current);
      const second = await runOnce(args, signal);
      if (second !== undefined) return second;
      throw new AppError('INTERNAL', 'A container for nvidia-smi does not last.');
    };

  return {
    list: (signal) => listGpus(runIn(signal)),
    sample: (signal, answering) => sampleGpus(runIn(signal), answering),
    async close() {
      isClosed = true;
      if (current !== undefined) await discard(current);
    },
  };
}

/** As a container says it whose devices systemd has taken. */
const lostDevices = /NVML: Unknown Error/;

/** A container that has lost its devices may say no more than that, too. */
function isEmptyList(args: readonly string[], { output }: SmiRun): boolean {
  const isList = args.length === 1 && args[0] === '-L';
  return isList && /^\s*(?:no devices (?:were )?found\.?)?\s*$/i.test(output);
}
