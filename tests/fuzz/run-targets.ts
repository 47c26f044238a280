import { appendFile } from 'node:fs/promises';
import { describe, expect, inject, it } from 'vitest';
import { messageOf } from '@inference-server/errors';
import { targets } from './targets.js';

/** What scripts/fuzz.mjs wants of this run. */
interface Wanted {
  isLong: boolean;
  /** Names of targets; none: all. */
  only: string[];
  seed: number;
  /** Of each target; null: as many as the target has in its form. */
  cases: number | null;
  /** Gets a line of JSON first with the names and where the run keeps its services, then for each target. */
  reportPath: string;
}

const wanted = JSON.parse(inject('environment')['FUZZ'] ?? 'null') as Wanted;
const chosen = targets.filter(({ name }) => wanted.only.length === 0 || wanted.only.includes(name));
const report = (line: object) => appendFile(wanted.reportPath, `${JSON.stringify(line)}\n`);

const unknown = wanted.only.filter((name) => !targets.some((target) => target.name === name));
if (unknown.length > 0) {
  const known = targets.map(({ name }) => name).join(', ');
  throw new Error(`There is no target ${unknown.join(', ')}; there are ${known}.`);
}
await report({ chosen: chosen.map(({ name }) => name), runFolder: inject('runFolder') });

describe('fuzzing', () => {
  it.each(chosen)(
    '$name',
    async ({ name, cases: usual, fuzz }) => {
      const { seed } = wanted;
      const planned = wanted.cases ?? usual[wanted.isLong ? 'long' : 'short'];
      let cases = 0;
      const onCase = () => void (cases += 1);
      const began = performance.now();
      const seconds = () => (performance.now() - began) / 1000;
      try {
        const counts = await fuzz({ cases: planned, seed, onCase });
        await report({ name, seed, planned, cases, ...counts, seconds: seconds() });
        expect(cases).toBe(planned);
      } catch (error) {
        await report({ name, seed, planned, cases, seconds: seconds(), finding: messageOf(error) });
        throw error;
      }
    },
    3_600_000,
  );
});
