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
  const { signal } = stopping;
  stop.once('message', () => stopping.abort());
  try {
    const isMine = mostWork === undefined || (await isWorkWithin(mostWork, path, signal));
    return isMine ? await checkZip(path, rules, signal) : undefined;
  } finally {
    stop.close();
  }
}
