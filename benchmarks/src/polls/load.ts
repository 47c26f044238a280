import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { processorMs } from '../processor-time.js';
import type { Scene } from '../scene.js';

export interface LoadTarget {
  url: string;
  /** Who works on the answers, but for the database. */
  pids: readonly number[];
  headers?: Record<string, string>;
  /** In place of the usual time. */
  seconds?: number;
}

export interface LoadResult {
  perSecond: number;
  medianMs: number;
  /** Processor time that an answer cost, in all of the target's processes (ms). */
  processorMs: number;
}

/**
 * A load of GET requests from a process of its own (wrk, one thread), each connection asking again
 * as soon as it has its answer. Throws unless every answer was a 551.
 */
export function createLoad(
  { environment, signal }: Scene,
  usual: { connections: number; seconds: number },
): (target: LoadTarget) => Promise<LoadResult> {
  return async ({ url, pids, headers = {}, seconds = usual.seconds }) => {
    await expectPending(url, headers, signal);
    const args = [
      ...['--threads', '1', '--connections', String(usual.connections)],
      ...['--duration', `${seconds}s`, '--latency'],
      ...Object.entries(headers).flatMap(([name, value]) => ['--header', `${name}: ${value}`]),
      url,
    ];
    const usedBefore = processorMs(pids);
    const { stdout } = await promisify(execFile)('wrk', args, {
      env: environment,
      signal,
      timeout: seconds * 1000 + 30_000,
    });
    return readResult(stdout, processorMs(pids) - usedBefore);
  };
}

async function expectPending(
  url: string,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<void> {
  const answer = await fetch(url, { headers, signal });
  const text = await answer.text();
  if (answer.status !== 551) throw new Error(`${url} answers ${answer.status}: ${text}`);
}

/** wrk counts what is no 2xx or 3xx: all of ours. */
function readResult(text: string, usedMs: number): LoadResult {
  const number = (pattern: RegExp) => Number(pattern.exec(text)?.[1] ?? Number.NaN);
  const requests = number(/(\d+) requests in/);
  const errors = number(/Non-2xx or 3xx responses: (\d+)/);
  const [, value, unit = ''] = /50%\s+([\d.]+)(us|ms|s)/.exec(text) ?? [];
  const medianMs = Number(value) * ({ us: 0.001, ms: 1, s: 1000 }[unit] ?? Number.NaN);
  const perSecond = number(/Requests\/sec:\s+([\d.]+)/);
  if (requests !== errors || text.includes('Socket errors') || Number.isNaN(perSecond + medianMs)) {
    throw new Error(`The load met something else than 551:\n${text}`);
  }
  return { perSecond, medianMs, processorMs: usedMs / requests };
}
