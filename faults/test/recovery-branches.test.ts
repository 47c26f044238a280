import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, inject, it } from 'vitest';
import { countBranches, isDemanded, loggedBranches } from '../src/checks/recovery-branches.js';

it('knows of no way back that the sources do not log', async () => {
  const texts = await sources();
  const unknown = loggedBranches.filter(
    ({ msg }) => !texts.some((text) => text.includes(`'${msg}'`)),
  );
  expect(unknown).toEqual([]);
});

it('knows of every warning that the sources log', async () => {
  const warnings = (await sources()).flatMap((text) =>
    [...text.matchAll(/\.warn\((?:[^;']*?,\s*)?'([^']+)'/g)].map(([, msg]) => msg),
  );
  expect(warnings.length).toBeGreaterThan(25);
  const known = new Set(loggedBranches.map(({ msg }) => msg));
  expect(warnings.filter((msg = '') => !known.has(msg))).toEqual([]);
});

async function sources(): Promise<string[]> {
  const texts: string[] = [];
  for (const folder of ['apps', 'packages']) {
    const root = join(inject('repository'), folder);
    for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
      const isSource = /\/src(\/|$)/.test(entry.parentPath) && entry.name.endsWith('.ts');
      if (!isSource || entry.parentPath.includes('node_modules')) continue;
      texts.push(await readFile(join(entry.parentPath, entry.name), 'utf8'));
    }
  }
  return texts;
}

it('demands all but those of chance', () => {
  expect(isDemanded('adopted')).toBe(true);
  expect(isDemanded('an orphan stays')).toBe(false);
});

it('names each once, and counts a line for the one that it is of', async () => {
  const names = loggedBranches.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  const branches = countBranches();
  const line = { time: 0, level: 30, pid: 1 };
  branches.note({ ...line, msg: 'an attempt is left', how: 'parked' });
  branches.note({ ...line, msg: 'an attempt is left', how: 'in another way' });
  branches.note({ ...line, msg: 'listening' });
  branches.note({ ...line, msg: 'adopted' });
  const rows = [
    { reason: 'lease_lost', times: 2 },
    { reason: 'internal', times: 1 },
  ];
  const counts = await branches.counts({ query: <Row>() => Promise.resolve(rows as Row[]) });
  const taken = Object.entries(counts).filter(([, times]) => times > 0);
  expect(Object.fromEntries(taken)).toEqual({
    'an attempt is left: parked': 1,
    adopted: 1,
    'an attempt met lease_lost': 2,
  });
});
