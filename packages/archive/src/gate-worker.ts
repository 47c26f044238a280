import { checkZip, type ZipRules, type ZipVerdict } from './check-zip.js';

export interface GateJob {
  path: string;
  rules: ZipRules;
}

/** What a thread of the gate runs. It is ended from outside when its zip is no longer wanted. */
export default async function check({ path, rules }: GateJob): Promise<ZipVerdict> {
  return checkZip(path, rules, new AbortController().signal);
}
