import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, inject, it } from 'vitest';
import Value from 'typebox/value';
import { testFolder, waitUntil } from '@inference-server/testing';
import { CrashAt, crashPoints, type CrashPoint } from '../../src/index.js';

/** Comes to all points, one after the other, and tells of each that it has left behind. */
const program = `
  import { writeSync } from 'node:fs';
  const { armCrashPoints, crashPoint } = await import(process.argv[1]);
  const [, , setting, ...points] = process.argv;
  armCrashPoints(setting === '' ? undefined : setting);
  for (const point of points) {
    crashPoint(point, 'the uid');
    writeSync(1, point + '\\n');
  }
`;

it('nothing happens at any point where nothing is set', async () => {
  expect(await passAll('')).toEqual({ ended: 0, passed: [...crashPoints] });
});

it.each(crashPoints)('a process dies at %s when that is set, and nowhere before', async (point) => {
  const before = crashPoints.slice(0, crashPoints.indexOf(point));
  expect(await passAll(point)).toEqual({ ended: 'SIGKILL', passed: before });
});

it('nothing happens at any point while the folder is empty, or is not there', async () => {
  const folder = await testFolder();
  const all = { ended: 0, passed: [...crashPoints] };
  expect(await passAll(folder)).toEqual(all);
  expect(await passAll(join(folder, 'absent'))).toEqual(all);
});

it('the signal that the file of a point names is sent there, and its file is taken away', async () => {
  const folder = await testFolder();
  await writeFile(join(folder, 'claim_won'), 'SIGKILL');
  await writeFile(join(folder, 'never_reached'), 'SIGKILL');
  const passed = crashPoints.slice(0, crashPoints.indexOf('claim_won'));
  expect(await passAll(folder)).toEqual({ ended: 'SIGKILL', passed });
  expect((await readdir(folder)).sort()).toEqual(['claim_won.met', 'never_reached']);
  expect(await readFile(join(folder, 'claim_won.met'), 'utf8')).toBe('the uid');
});

it('the signal is sent once', async () => {
  const folder = await testFolder();
  await writeFile(join(folder, 'settled'), 'SIGSTOP');
  const child = pass(folder, ['claim_won', 'settled', 'settled', 'output_sent']);
  const passed = text(child.stdout!);
  try {
    const isStopped = async () => (await stateOf(child)) === 'T';
    expect(await waitUntil(isStopped, { timeoutMs: 20_000 })).toBe(true);
    expect(await readdir(folder)).toEqual(['settled.met']);
    child.kill('SIGCONT');
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(await passed).toBe('claim_won\nsettled\nsettled\noutput_sent\n');
  } finally {
    child.kill('SIGKILL');
  }
});

it('takes a point or an absolute folder for a setting, and nothing else', () => {
  for (const point of crashPoints) expect(Value.Check(CrashAt, point)).toBe(true);
  expect(Value.Check(CrashAt, '/tmp/points')).toBe(true);
  for (const other of ['', 'nowhere', 'post_stored ', 'points', './points', '/', 'settled\n']) {
    expect(Value.Check(CrashAt, other), other).toBe(false);
  }
});

function pass(setting: string, points: readonly CrashPoint[]): ChildProcess {
  const built = join(inject('repository'), 'packages', 'service-kit', 'dist', 'crash-points.js');
  return spawn(
    process.execPath,
    ['--input-type=module', '--eval', program, built, setting, ...points],
    { stdio: ['ignore', 'pipe', 'inherit'], timeout: 25_000 },
  );
}

/** The exit code or the signal that it ended with, and the points that it has left behind. */
async function passAll(setting: string) {
  const child = pass(setting, crashPoints);
  const [passed, [code, signal]] = await Promise.all([text(child.stdout!), once(child, 'exit')]);
  return { ended: (signal ?? code) as string | number, passed: passed.split('\n').slice(0, -1) };
}

/** One letter, as /proc has it. */
async function stateOf({ pid }: ChildProcess): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid ?? 0}/stat`, 'utf8').catch(() => '');
  return stat.slice(stat.lastIndexOf(')') + 2)[0];
}
