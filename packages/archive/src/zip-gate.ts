import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { AppError, toAppError } from '@inference-server/errors';
import type { ZipRules, ZipVerdict } from './check-zip.js';
import type { GateJob } from './gate-worker.js';
import type { ZipWork } from './zip-work.js';

/** Checks zips off the main thread. */
export interface ZipGate {
  /** {@link checkZip} in a worker thread. */
  check(path: string, rules: ZipRules, signal: AbortSignal): Promise<ZipVerdict>;
  /** What is being checked is cut off, as INTERNAL. */
  close(): Promise<void>;
}

/**
 * `threads` of them take the large zips, one more takes the small ones, which so never wait behind
 * gibibytes: it hands on what is much work in a short file. The rest waits its turn, in no other memory
 * than its place in the line. An abort is answered at once; the thread learns of it and comes to its own
 * end, for one that is killed may leave its file open. That a thread runs out of memory is a finding.
 */
export function createZipGate({ threads }: { threads: number }): ZipGate {
  const small = createPool(1);
  const large = createPool(threads);
  const closing = new AbortController();
  const running = new Set<Promise<unknown>>();

  function run<T>(pool: Piscina, job: Omit<GateJob, 'stop'>, signal: AbortSignal): Promise<T> {
    const { port1: stop, port2 } = new MessageChannel();
    const given: GateJob = { ...job, stop: port2 };
    const checked = pool.run(given, { transferList: [port2] }) as Promise<T>;
    running.add(checked);
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => {
        stop.postMessage('stop');
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      const end = () => {
        running.delete(checked);
        signal.removeEventListener('abort', onAbort);
        stop.close();
      };
      checked.finally(end).then(resolve, reject);
    });
  }

  return {
    async check(path, rules, caller) {
      const signal = AbortSignal.any([caller, closing.signal]);
      try {
        const { size } = await stat(path);
        signal.throwIfAborted();
        const verdict =
          size <= smallBytes
            ? await run<ZipVerdict | undefined>(small, { path, rules, mostWork: smallWork }, signal)
            : undefined;
        signal.throwIfAborted();
        return verdict ?? (await run<ZipVerdict>(large, { path, rules }, signal));
      } catch (error) {
        signal.throwIfAborted();
        if (isOutOfMemory(error)) return { finding: { reason: 'too_much_memory' } };
        throw toAppError(error, 'checking a zip');
      }
    },
    async close() {
      closing.abort(new AppError('INTERNAL', 'the gate is closed'));
      const ended = Promise.allSettled(running);
      await Promise.race([ended, sleep(stopWithinMs, undefined, { ref: false })]);
      await Promise.all([small.destroy(), large.destroy()]);
    },
  };
}

const smallBytes = 16 * 1024 ** 2;
/** Some 10,000 entries, and what is usually inflated within its time. */
const smallWork: ZipWork = {
  directoryBytes: 1024 ** 2,
  unzippedBytes: 64 * 1024 ** 2,
  ms: 500,
};
/** A thread looks up between two chunks; longer takes only a disk that does not answer. */
const stopWithinMs = 5_000;

function createPool(threads: number): Piscina {
  return new Piscina({
    filename: workerFile,
    minThreads: 0,
    maxThreads: threads,
    // Starting a thread takes some 30 ms: one that was used stays a while for the next.
    idleTimeout: 60_000,
    maxQueue: Number.POSITIVE_INFINITY,
    // The tree of the names that the limits allow, however long they are, as far as they are honest.
    // The young generation is small, so that the chunks of a zip do not lie about for long.
    resourceLimits: { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 2 },
  });
}

function isOutOfMemory(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'ERR_WORKER_OUT_OF_MEMORY';
}

/** As built: a thread runs no TypeScript, also when this file is run from its source. */
const workerFile = fileURLToPath(new URL('../dist/gate-worker.js', import.meta.url));
