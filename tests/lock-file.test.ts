import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { missingEntries } from '../scripts/complete-lock-file.mjs';

interface LockFile {
  packages: Record<string, { optionalDependencies?: Record<string, string> }>;
}

const read = async (name: string) =>
  JSON.parse(await readFile(new URL(`../${name}`, import.meta.url), 'utf8')) as LockFile;

test('npm ci accepts the lock file: every optional dependency has an entry', async () => {
  // If not: node scripts/complete-lock-file.mjs
  expect(missingEntries((await read('package-lock.json')).packages)).toEqual({});
});

test('the lock file names no registry and no machine', async () => {
  const text = await readFile(new URL('../package-lock.json', import.meta.url), 'utf8');
  expect(text).not.toMatch(/"resolved": "https?:/);
});

test('an entry is found beside its dependent and above it, and made with its platform', () => {
  const packages = {
    '': {},
    'node_modules/a': {
      optionalDependencies: { '@x/darwin-64': '1.0.0', '@x/linux-arm64': '1.0.0' },
    },
    'node_modules/a/node_modules/b': { optionalDependencies: { c: '2.0.0', d: '3.0.0' } },
    'node_modules/a/node_modules/c': {},
    'node_modules/@x/linux-arm64': {},
  };
  expect(missingEntries(packages)).toEqual({
    'node_modules/@x/darwin-64': { version: '1.0.0', optional: true, os: ['darwin'], cpu: ['x64'] },
    'node_modules/d': { version: '3.0.0', optional: true },
  });
});
