import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, inject, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { openLogFiles } from '../src/log-files.js';

/** Of 100 bytes. */
const line = (number: number) => `${String(number).padEnd(99, '.')}\n`;

/** The numbers of the lines of each file. */
async function linesIn(folder: string): Promise<Record<string, number[]>> {
  const names = (await readdir(folder)).toSorted();
  const read = names.map(async (name) => {
    const lines = (await readFile(join(folder, name), 'utf8')).split('\n').slice(0, -1);
    return [name, lines.map((each) => Number.parseInt(each, 10))] as const;
  });
  return Object.fromEntries(await Promise.all(read));
}

it('begins a new file before one is too long, and keeps so many', async () => {
  const folder = join(await testFolder(), 'a', 'b');
  const files = openLogFiles('app', { folder, maxBytes: 300, count: 3 });
  for (let at = 0; at < 11; at += 1) files.write(line(at));
  expect(await linesIn(folder)).toEqual({
    'app.log': [9, 10],
    'app.1.log': [6, 7, 8],
    'app.2.log': [3, 4, 5],
  });
  expect((await stat(join(folder, 'app.log'))).mode & 0o137).toBe(0);
  expect((await stat(folder)).mode & 0o027).toBe(0);
});

it('keeps one alone, and a line that is longer than a file may be', async () => {
  const folder = await testFolder();
  const files = openLogFiles('app', { folder, maxBytes: 50, count: 1 });
  for (let at = 0; at < 3; at += 1) files.write(line(at));
  expect(await linesIn(folder)).toEqual({ 'app.log': [2] });
});

it('goes on where a process before it has stopped', async () => {
  const folder = await testFolder();
  const settings = { folder, maxBytes: 300, count: 3 };
  for (let at = 0; at < 4; at += 1) openLogFiles('app', settings).write(line(at));
  expect(await linesIn(folder)).toEqual({ 'app.1.log': [0, 1, 2], 'app.log': [3] });
});

it('writes into the right file beside another process, and after one was moved away', async () => {
  const folder = await testFolder();
  const settings = { folder, maxBytes: 300, count: 9 };
  const [one, other] = [openLogFiles('app', settings), openLogFiles('app', settings)];
  for (let at = 0; at < 10; at += 2) {
    one.write(line(at));
    other.write(line(at + 1));
  }
  await rename(join(folder, 'app.log'), join(folder, 'app.old.log'));
  one.write(line(10));
  other.write(line(11));
  expect(await linesIn(folder)).toEqual({
    'app.log': [10, 11],
    'app.old.log': [9],
    'app.1.log': [6, 7, 8],
    'app.2.log': [3, 4, 5],
    'app.3.log': [0, 1, 2],
  });
});

/** What a process says on standard error and output that logs by the built package. */
async function runLogger(folder: string, script: string) {
  const kit = join(inject('repository'), 'packages', 'service-kit', 'dist', 'index.js');
  const whole = `
    import { createLogger } from ${JSON.stringify(kit)};
    import { setTimeout as sleep } from 'node:timers/promises';
    const files = { folder: ${JSON.stringify(folder)}, maxBytes: 100_000, count: 2 };
    const logger = createLogger('app', 'info', files);
    ${script}
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', whole], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 20_000,
  });
  const [out, error, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ]);
  return { out, error, code: code as unknown };
}

it('has what standard output has, without credentials', async () => {
  const folder = await testFolder();
  const { out } = await runLogger(
    folder,
    `logger.info({ token: 'secret', req: { headers: { authorization: 'secret' } } }, 'a');
     logger.debug('not said');`,
  );
  expect(await readFile(join(folder, 'app.log'), 'utf8')).toBe(out);
  expect(out).toContain('[redacted]');
  expect(out).not.toContain('secret');
});

const lines = `for (let at = 0; at < 3; at += 1) { logger.info('a line'); await sleep(1_100); }`;

it.each<[string, (folder: string) => Promise<void>, RegExp]>([
  [
    'a full disk',
    async (folder) => {
      await mkdir(folder);
      await symlink('/dev/full', join(folder, 'app.log'));
    },
    /^no logs are written to LOG_DIR: ENOSPC[^\n]*\n$/,
  ],
  [
    'no folder, and none to be made',
    (folder) => writeFile(folder, ''),
    /^no logs are written to LOG_DIR: (ENOTDIR|EEXIST)[^\n]*\n$/,
  ],
])('ends no process, and says once on standard error: %s', async (_what, prepare, said) => {
  const folder = join(await testFolder(), 'logs');
  await prepare(folder);
  const { out, error, code } = await runLogger(folder, lines);
  expect([out.split('\n').length, code]).toEqual([4, 0]);
  expect(error).toMatch(said);
});

it('makes a folder again that was removed', async () => {
  const folder = join(await testFolder(), 'logs');
  const files = openLogFiles('app', { folder, maxBytes: 300, count: 3 });
  files.write(line(0));
  await rm(folder, { recursive: true });
  files.write(line(1));
  expect(await linesIn(folder)).toEqual({ 'app.log': [1] });
});
