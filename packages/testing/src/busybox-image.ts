import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { EngineApi } from './engine-api.js';

/** A shell and the usual small commands. */
export const busyboxImage = 'inference-server-test/busybox:1';

/** Makes the image out of Debian's busybox-static, unless the engine has it. */
export async function importBusybox(api: EngineApi, folder: string): Promise<void> {
  const there = await api.call('GET', `/images/${busyboxImage}/json`).then(
    () => true,
    () => false,
  );
  if (there) return;
  await layOut(folder);
  const tar = spawn('tar', ['-C', folder, '--owner=0', '--group=0', '-c', '.'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(tar, 'exit');
  const query = new URLSearchParams({
    fromSrc: '-',
    repo: 'inference-server-test/busybox',
    tag: '1',
    changes: 'CMD ["sh"]',
  });
  const answer = await api.upload('POST', `/images/create?${query.toString()}`, tar.stdout);
  await ended;
  // The engine reports a failure inside an answer that says 200.
  if (answer.includes('"error"')) throw new Error(`Importing busybox failed: ${answer}`);
  await rm(folder, { recursive: true });
}

async function layOut(folder: string): Promise<void> {
  const busybox = '/bin/busybox';
  await mkdir(join(folder, 'bin'), { recursive: true });
  await mkdir(join(folder, 'tmp'));
  await chmod(join(folder, 'tmp'), 0o1777);
  await copyFile(busybox, join(folder, 'bin', 'busybox'));
  const { stdout } = await promisify(execFile)(busybox, ['--list'], { timeout: 10_000 });
  for (const applet of stdout.trim().split('\n')) {
    if (applet !== 'busybox') await symlink('busybox', join(folder, 'bin', applet));
  }
}
