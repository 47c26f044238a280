import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { compareReaders } from '../fuzz/compare-readers.js';

const areThere = ['unzip', '7z', 'python3'].every((name) => existsSync(`/usr/bin/${name}`));

describe('what the gate lets pass', () => {
  it.runIf(areThere)(
    'is read by unzip, 7z and Python as by us, and by bsdtar and Java where they are',
    async () => {
      const cases = 400;
      const { accepted, refused } = await compareReaders({ cases, seed: 1 });
      expect(accepted).toBeGreaterThan(cases / 10);
      expect(accepted).toBeLessThan(cases * 0.9);
      // Strict: some of what it refuses all others read, but by far not most.
      expect(refused.readAlike).toBeLessThan(refused.tried / 2);
    },
    120_000,
  );
});
