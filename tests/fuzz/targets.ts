import { compareReaders } from './compare-readers.js';
import { fuzzMessages } from './message-target.js';
import { fuzzMultipart } from './multipart-target.js';
import { fuzzRoutes } from './route-target.js';
import type { FuzzRun } from './run-cases.js';
import { fuzzTar } from './tar-target.js';
import { fuzzZip } from './zip-target.js';

export interface FuzzTarget {
  name: string;
  /** How many cases the short form has, and the long one. */
  cases: { short: number; long: number };
  /** Throws with whatever is needed to repeat it when a case goes wrong. */
  fuzz: (run: FuzzRun) => Promise<{ accepted: number }>;
}

/** What `npm run test:fuzz` runs, one after another. */
export const targets: readonly FuzzTarget[] = [
  { name: 'zip', cases: { short: 15_000, long: 400_000 }, fuzz: fuzzZip },
  { name: 'readers', cases: { short: 300, long: 12_000 }, fuzz: compareReaders },
  { name: 'tar', cases: { short: 10_000, long: 300_000 }, fuzz: fuzzTar },
  { name: 'multipart', cases: { short: 15_000, long: 400_000 }, fuzz: fuzzMultipart },
  { name: 'messages', cases: { short: 30_000, long: 400_000 }, fuzz: fuzzMessages },
  { name: 'routes', cases: { short: 20_000, long: 400_000 }, fuzz: fuzzRoutes },
];
