import { setTimeout as sleep } from 'node:timers/promises';
import {
  isEngineProblem,
  type ContainerEngine,
  type ImageDetails,
  type RegistryCredentials,
} from '@inference-server/container-engine';
import type { PullPolicy } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { outcomeOfPull, unavailable } from './fault-cause.js';
import type { Outcome } from './outcome.js';

/**
 * The image of a model: pulled when absent, before each task, or never. A pull that fails is tried
 * again for `retryMs`; one whose registry has answered may take its time. Throws only when the engine
 * itself fails.
 */
export async function requireImage(
  engine: ContainerEngine,
  wanted: {
    reference: string;
    policy: PullPolicy;
    credentials: RegistryCredentials | undefined;
    retryMs: number;
  },
  signal: AbortSignal,
): Promise<ImageDetails | Outcome> {
  const { reference, policy, credentials, retryMs } = wanted;
  if (policy !== 'always') {
    const found = await engine.inspectImage(reference, signal);
    if (found !== undefined) return found;
    if (policy === 'never') {
      return unavailable(reference, 'it is not in the engine, and it must not be pulled.');
    }
  }
  const started = performance.now();
  for (let pauseMs = 500; ; pauseMs = Math.min(2 * pauseMs, 5_000)) {
    const leftMs = retryMs - (performance.now() - started);
    try {
      await pullWithin(engine, { reference, credentials }, Math.max(leftMs, 1), signal);
      const found = await engine.inspectImage(reference, signal);
      if (found !== undefined) return found;
    } catch (error) {
      if (signal.aborted || isEngineProblem(error, 'unreachable', 'disk_full')) throw error;
      if (leftMs <= pauseMs) return outcomeOfPull(reference, error);
    }
    await sleep(pauseMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

/** Bounds the time until the registry answers; from then on the engine's own bounds hold. */
async function pullWithin(
  engine: ContainerEngine,
  { reference, credentials }: { reference: string; credentials: RegistryCredentials | undefined },
  withinMs: number,
  signal: AbortSignal,
): Promise<void> {
  const silent = new AbortController();
  const timer = setTimeout(() => {
    silent.abort(new AppError('SERVICE_UNAVAILABLE', 'the registry did not answer in time.'));
  }, withinMs);
  try {
    const bounds = AbortSignal.any([signal, silent.signal]);
    await engine.pullImage(reference, bounds, {
      onProgress: () => {
        clearTimeout(timer);
      },
      credentials,
    });
  } finally {
    clearTimeout(timer);
  }
}
