import type { MessagePort } from 'node:worker_threads';
import { checkZip, type ZipRules, type ZipVerdict } from './check-zip.js';
import { isWorkWithin, type ZipWork } from './zip-work.js';

export interface GateJob {
  path: string;
  rules: ZipRules;
  /** More is left to another thread; absent: no work is too much. */
  mostWork?: ZipWork;
  /** Any message says that the zip is no longer wanted. */
  stop: MessagePort;
}

/** What a thread of the gate runs; undefined when it is more work than given. */
export default async function check({
  path,
  rules,
  mostWork,
  stop,
}: GateJob): Promise<ZipVerdict | undefined> {
  const stopping = new AbortController();
  stop.once('message', () => stopping.abort());
  try {
    if (mostWork === undefined) return await checkZip(path, rules, stopping.signal);
    return await checkWithin(mostWork, path, rules, stopping.signal);
  } finally {
    stop.close();
  }
}

async function checkWithin(
  mostWork: ZipWork,
  path: string,
  rules: ZipRules,
  stopped: AbortSignal,
): Promise<ZipVerdict | undefined> {
  // The catch holds on to it: a time-out within any() alone may be collected before it fires.
  const late = AbortSignal.timeout(mostWork.ms);
  const signal = AbortSignal.any([stopped, late]);
  try {
    return (await isWorkWithin(mostWork, path, signal))
      ? await checkZip(path, rules, signal)
      : undefined;
  } catch (error) {
    if (error === late.reason) return undefined;
    throw error;
  }
}
