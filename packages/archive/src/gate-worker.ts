import type { MessagePort } from 'node:worker_threads';
import { checkZip, type ZipRules, type ZipVerdict } from './check-zip.js';

export interface GateJob {
  path: string;
  rules: ZipRules;
  /** Any message says that the zip is no longer wanted. */
  stop: MessagePort;
}

/** What a thread of the gate runs. */
export default async function check({ path, rules, stop }: GateJob): Promise<ZipVerdict> {
  const stopping = new AbortController();
  stop.once('message', () => stopping.abort());
  try {
    return await checkZip(path, rules, stopping.signal);
  } finally {
    stop.close();
  }
}
