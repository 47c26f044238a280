import { setTimeout as sleep } from 'node:timers/promises';
import { isEngineProblem } from '../engine-error.js';
import type { EngineConnection } from './connection.js';
import { inspectContainer } from './containers.js';
import { tellsThatNoneRuns } from './errors.js';

/** What the call gives; undefined when it failed because the container does not run, or there is none. */
export async function whileRunning<T>(
  connection: EngineConnection,
  container: string,
  signal: AbortSignal,
  call: () => Promise<T | undefined>,
): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (isEngineProblem(error, 'container_absent')) return undefined;
    if (isEngineProblem(error, 'in_use', 'failed') && tellsThatNoneRuns(String(error))) {
      return undefined;
    }
    if (!isEngineProblem(error, 'failed')) throw error;
    if (await endsNow(connection, container, signal)) return undefined;
    throw error;
  }
}

/**
 * Whether the container has ended, or is about to: what runs in it ends first, and the engine hears of
 * the container's own end later (seen: 0.4 s on a busy machine).
 */
export async function endsNow(
  connection: EngineConnection,
  container: string,
  signal: AbortSignal,
): Promise<boolean> {
  const until = performance.now() + endNoticeMs;
  for (;;) {
    const found = await inspectContainer(connection, container, signal);
    if (found?.state !== 'running') return found?.state !== 'paused';
    if (performance.now() > until) return false;
    await sleep(50, undefined, { signal });
  }
}

const endNoticeMs = 2_000;
