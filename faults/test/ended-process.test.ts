import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startProcess } from '@inference-server/local-services';
import { testFolder, waitUntil } from '@inference-server/testing';
import { judgeEnds } from '../src/checks/process-ends.js';
import { supervise, type EndedProcess, type Supervised } from '../src/world/ended-process.js';

it('tells of an end that was asked for, and of one that was not', async () => {
  const { ends, run } = await openBench();
  const asked = await run(`process.on('SIGTERM', () => process.exit(0))`);
  expect(await asked.end('SIGTERM')).toEqual({ code: 0, signal: null });
  const killed = await run('');
  expect(await killed.end('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' });
  const unasked = await run('setTimeout(() => process.exit(3), 10)');
  await unasked.ended;
  expect(ends.map(({ asked: by, code, signal }) => [by?.signal, code, signal])).toEqual([
    ['SIGTERM', 0, null],
    ['SIGKILL', null, 'SIGKILL'],
    [undefined, 3, null],
  ]);
  expect(judgeEnds(ends, [])).toEqual({
    asAsked: 2,
    byDesign: {},
    broken: [expect.stringMatching(/^app \d+ ended with code 3, unasked, at .*\n +last words$/)],
  });
});

it('kills what does not end within its bound, and tells so', async () => {
  const { ends, run } = await openBench();
  const deaf = await run(`process.on('SIGTERM', () => undefined)`);
  expect(await deaf.end('SIGTERM')).toEqual({ code: null, signal: 'SIGKILL' });
  expect(judgeEnds(ends, []).broken).toEqual([
    expect.stringMatching(/SIGKILL, \d\.\d s after SIGTERM, it had to be killed/),
  ]);
});

it('does nothing to a process that has ended', async () => {
  const { ends, run } = await openBench();
  const gone = await run('process.exit(0)');
  await gone.ended;
  expect(await gone.end('SIGTERM')).toEqual({ code: 0, signal: null });
  expect(ends.map(({ asked }) => asked)).toEqual([undefined]);
});

it('ends one that stands still', async () => {
  const { ends, run } = await openBench();
  const frozen = await run('');
  process.kill(frozen.pid, 'SIGSTOP');
  await frozen.end('SIGTERM');
  expect(ends).toMatchObject([{ hadToBeKilled: true, signal: 'SIGKILL' }]);
});

async function openBench() {
  const folder = await testFolder();
  const ends: EndedProcess[] = [];
  let count = 0;
  const run = async (script: string): Promise<Supervised> => {
    count += 1;
    const logFile = join(folder, `${count}.log`);
    const process_ = await startProcess({
      name: `app-${count}`,
      command: process.execPath,
      args: ['-e', `${script}; console.log('up'); setInterval(() => undefined, 1000)`],
      environment: {},
      dataDir: folder,
      logFile,
    });
    const supervised = supervise({
      ...{ name: 'app', isOurs: true, process: process_, withinMs: 1_000 },
      lastLines: () => ['last words'],
      onEnd: (end) => ends.push(end),
    });
    const isUp = async () =>
      supervised.hasEnded || (await readFile(logFile, 'utf8').catch(() => '')).includes('up');
    expect(await waitUntil(isUp, { timeoutMs: 10_000 })).toBe(true);
    return supervised;
  };
  return { ends, run };
}
