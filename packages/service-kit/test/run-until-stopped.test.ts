import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, inject, it } from 'vitest';

/** Starts for ever, or until it is to stop, or at once: then its closing fails. */
const program = `
  const { createLogger, runUntilStopped } = await import(process.argv[1]);
  const how = process.argv[2];
  const logger = createLogger('program', 'info');
  await runUntilStopped(
    (signal) => new Promise((resolve, reject) => {
      if (how === 'cannot be closed') {
        resolve({ close: () => Promise.reject(new Error('the door is stuck')) });
      }
      if (how === 'heeds') signal.addEventListener('abort', () => reject(signal.reason));
      setInterval(() => undefined, 1_000);
      logger.info('starting');
    }),
    { logger, graceMs: 300 },
  );
`;

it.each([
  ['heeds', 0, 'stopped while starting'],
  ['hangs', 1, 'the grace time is over'],
  ['cannot be closed', 1, 'failed'],
])('what %s ends with %i on SIGTERM', async (how, code, words) => {
  const library = join(inject('repository'), 'packages/service-kit/dist/index.js');
  const args = ['--input-type=module', '-e', program, library, how];
  const child = spawn(process.execPath, args, { timeout: 20_000, killSignal: 'SIGKILL' });
  const ended = once(child, 'exit');
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (line.includes('"starting"')) child.kill('SIGTERM');
  }
  expect(await ended).toEqual([code, null]);
  expect(lines.at(-1)).toContain(words);
});
