import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import { toAppError } from '@inference-server/errors';
import type { ZipRules, ZipVerdict } from './check-zip.js';
import type { GateJob } from './gate-worker.js';

/** Checks zips off the main thread. */
export interface ZipGate {
  /** {@link checkZip} in a worker thread. */
  check(path: string, rules: ZipRules, signal: AbortSignal): Promise<ZipVerdict>;
  /** What is being checked is cut off. */
  close(): Promise<void>;
}

/**
 * `threads` of them take the large zips, one more takes the small ones, which so never wait behind
 * gibibytes. The rest waits its turn, in no other memory than its place in the line. An abort ends the
 * thread that works on the zip.
 */
export function createZipGate({ threads }: { threads: number }): ZipGate {
  const small = createPool(1);
  const large = createPool(threads);
  return {
    async check(path, rules, signal) {
      signal.throwIfAborted();
      try {
        const { size } = await stat(path);
        const pool = size <= smallBytes ? small : large;
        const job: GateJob = { path, rules };
        return (await pool.run(job, { signal })) as ZipVerdict;
      } catch (error) {
        signal.throwIfAborted();
        throw toAppError(error, 'checking a zip');
      }
    },
    async close() {
      await Promise.all([small.destroy(), large.destroy()]);
    },
  };
}

const smallBytes = 16 * 1024 ** 2;

function createPool(threads: number): Piscina {
  return new Piscina({
    filename: workerFile,
    minThreads: 0,
    maxThreads: threads,
    // Starting a thread takes some 30 ms: one that was used stays a while for the next.
    idleTimeout: 60_000,
    maxQueue: Number.POSITIVE_INFINITY,
    resourceLimits: { maxOldGenerationSizeMb: 256 },
  });
}

/** As built: a thread runs no TypeScript, also when this file is run from its source. */
const workerFile = fileURLToPath(new URL('../dist/gate-worker.js', import.meta.url));
