import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, inject, it } from 'vitest';
import { crashPoints, taskCrashPoints } from '@inference-server/service-kit';
import { allPhases, phases } from '../src/faults/fault.js';
import { allFaults, lineOf, makeSchedule } from '../src/faults/schedule.js';
import { createRandom } from '../src/random.js';

const everything = { rounds: 1, from: 1, count: Infinity, only: [] as string[] };

it('is the same of the same seed, and another of another', () => {
  expect(schedule('1')).toEqual(schedule('1'));
  expect(schedule('1')).not.toEqual(schedule('2'));
  expect(schedule('1').sort()).toEqual(schedule('2').sort());
});

it('has every fault in each of its phases in each round, in another order', () => {
  const all = schedule('1', { rounds: 3 });
  const size = linesOf(0).length;
  expect(all).toHaveLength(3 * size);
  const orders = [0, 1, 2].map((round) => {
    const lines = all.slice(round * size, (round + 1) * size);
    expect([...lines].sort()).toEqual(linesOf(round).sort());
    return lines.map(withoutPoint).join('\n');
  });
  const asListed = linesOf(0).map(withoutPoint).join('\n');
  expect(new Set([asListed, ...orders]).size).toBe(4);
});

it('counts the strokes from 1, and ends with the last that is wanted', () => {
  const strokes = makeSchedule(createRandom('1'), { ...everything, rounds: 2, count: 5 });
  expect(strokes.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5]);
  expect(strokes.map(lineOf)).toEqual(schedule('1', { rounds: 2 }).slice(0, 5));
});

it('begins with the stroke of a number, and does what that would have done', () => {
  const all = makeSchedule(createRandom('1'), { ...everything, rounds: 2 });
  const some = makeSchedule(createRandom('1'), { ...everything, rounds: 2, from: 217, count: 3 });
  expect(some).toEqual(all.slice(216, 219));
});

it('comes to every point of a phase in as many rounds, with every fault of that phase', () => {
  const rounds = Math.max(...Object.values(phases).map(({ length }) => length));
  const met = makeSchedule(createRandom('1'), { ...everything, rounds }).map(
    ({ fault, point }) => `${point}: ${fault.name}`,
  );
  const wanted = allFaults.flatMap(({ name, phases: of }) =>
    of.flatMap((phase) => phases[phase].map((point) => `${point}: ${name}`)),
  );
  expect([...new Set(met)].sort()).toEqual(wanted.sort());
});

it('comes to every point in each round with the faults that want it', () => {
  const everywhere = allFaults.filter(({ isAtEveryPoint }) => isAtEveryPoint);
  expect(everywhere.length).toBeGreaterThan(2);
  for (const { name } of everywhere) {
    const strokes = makeSchedule(createRandom('1'), { ...everything, only: [name] });
    const points = strokes.filter(({ fault }) => fault.name === name).map(({ point }) => point);
    expect(points.sort()).toEqual([...taskCrashPoints].sort());
  }
});

it('has only what one of the words is part of', () => {
  const names = (only: string[]) =>
    new Set(
      makeSchedule(createRandom('1'), { ...everything, only }).map(({ fault }) => fault.name),
    );
  const wanted = allFaults.map(({ name }) => name).filter((name) => /Redis|COMMIT/.test(name));
  expect(wanted.length).toBeGreaterThan(2);
  expect([...names(['Redis', 'COMMIT'])].sort()).toEqual(wanted.sort());
  expect([...names(['FLUSHALL'])]).toEqual(['FLUSHALL']);
  expect([...names(['no such fault'])]).toEqual([]);
  expect(schedule('1', { only: ['FLUSHALL'] }).sort()).toEqual(
    linesOf(0)
      .filter((line) => line.includes(': FLUSHALL ('))
      .sort(),
  );
  expect(schedule('1', { only: ['run: FLUSHALL (container_started)'] })).toEqual([
    'run: FLUSHALL (container_started)',
  ]);
});

it('has faults of different names, each in some phases and once in each', () => {
  const names = allFaults.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const { name, phases: of } of allFaults) {
    expect(of.length, name).toBeGreaterThan(0);
    expect(new Set(of).size, name).toBe(of.length);
  }
});

it('has faults in every phase', () => {
  expect([...new Set(allFaults.flatMap(({ phases: of }) => of))].sort()).toEqual(
    [...allPhases].sort(),
  );
});

it('has every crash point of a task in one phase, and in the phases nothing else', () => {
  expect(Object.values(phases).flat().sort()).toEqual([...taskCrashPoints].sort());
});

it('has crash points that the code comes to, each in one place', async () => {
  const found: string[] = [];
  for (const app of ['private-api', 'job-consumer']) {
    const folder = join(inject('repository'), 'apps', app, 'src');
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.name.endsWith('.ts')) continue;
      const text = await readFile(join(entry.parentPath, entry.name), 'utf8');
      for (const [, point = ''] of text.matchAll(/\bcrashPoint\('(\w+)', /g)) found.push(point);
    }
  }
  expect(found.sort()).toEqual([...crashPoints].sort());
});

/** In the order of the faults. */
function linesOf(round: number): string[] {
  return allFaults.flatMap(({ name, phases: of, isAtEveryPoint }) =>
    of.flatMap((phase) => {
      const points: readonly string[] = phases[phase];
      const one = round % points.length;
      const met = isAtEveryPoint ? points : points.slice(one, one + 1);
      return met.map((point) => `${phase}: ${name} (${point})`);
    }),
  );
}

function withoutPoint(line: string): string {
  return line.replace(/ \(\w+\)$/, '');
}

function schedule(seed: string, options: Partial<typeof everything> = {}) {
  return makeSchedule(createRandom(seed), { ...everything, ...options }).map(lineOf);
}
