// npm start: the whole server on this machine. Arguments and settings are those of apps/standalone.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { build } from './build.mjs';
import { repository, setUp } from './setup.mjs';
import { listenForStop } from './stop-requests.mjs';

const signal = listenForStop();
try {
  await setUp({ purpose: 'start', signal });
  console.log('Building …');
  await build(signal);
  process.exitCode = await runServer();
} catch (error) {
  if (!signal.aborted) console.error(error.message);
  process.exitCode = signal.aborted ? 0 : 1;
}

/** Its exit code. The channel tells the server when this process is gone without a word. */
async function runServer() {
  signal.throwIfAborted();
  const main = join(repository, 'apps', 'standalone', 'dist', 'main.js');
  const server = spawn(process.execPath, [main, ...process.argv.slice(2)], {
    cwd: repository,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  signal.addEventListener('abort', () => server.kill('SIGTERM'));
  return await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('exit', (code) => resolve(code ?? 1));
  });
}
