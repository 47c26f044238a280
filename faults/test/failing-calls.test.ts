import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { failCalls } from '../src/world/failing-calls.js';

/** Flushes a file four times at once for each line that it is sent, and tells how that went. */
const flushing = `
  const { open } = require('node:fs/promises');
  const flush = async (at) => {
    const file = await open(process.argv[1] + at, 'w');
    const flushed = at % 2 ? file.sync() : file.datasync();
    const how = await flushed.then(() => 'flushed', (error) => error.code);
    await file.close();
    return how;
  };
  require('node:readline').createInterface({ input: process.stdin }).on('line', async () => {
    console.log((await Promise.all([0, 1, 2, 3].map(flush))).join(' '));
  });
`;

let child: ChildProcess;
let answers: AsyncIterator<string>;
let folder: string;

beforeEach(async () => {
  folder = await testFolder();
  const args = ['-e', flushing, join(folder, 'file')];
  child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  expect(await flush()).toBe('flushed flushed flushed flushed');
});
afterEach(async () => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
});

it('fails in every thread, and in none when it is over', async () => {
  const failing = await failCalls([child.pid!], ['fsync', 'fdatasync'], join(folder, 'log'));
  expect(await flush()).toBe('EIO EIO EIO EIO');
  await failing.end();
  const hits = await failing.hits();
  expect(hits).toHaveLength(4);
  expect(hits.join()).toMatch(
    /^\d+ .*f(data)?sync.* = -1 EIO \(Input\/output error\) \(INJECTED\)/,
  );
  expect(await flush()).toBe('flushed flushed flushed flushed');
});

it('holds a process that stands still, and leaves it to go on', async () => {
  child.kill('SIGSTOP');
  const failing = await failCalls([child.pid!], ['fsync', 'fdatasync'], join(folder, 'log'));
  child.kill('SIGCONT');
  expect(await flush()).toBe('EIO EIO EIO EIO');
  await failing.end();
  expect(await flush()).toBe('flushed flushed flushed flushed');
});

it('says so when there is nothing to hold', async () => {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  const failing = failCalls([child.pid!], ['fsync'], join(folder, 'log'));
  await expect(failing).rejects.toThrow('strace does not hold every thread');
});

async function flush(): Promise<string> {
  child.stdin!.write('\n');
  const { value } = await answers.next();
  return value as string;
}
