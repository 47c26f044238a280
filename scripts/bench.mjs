// npm run bench: how fast, and within how much memory. Its arguments are those of benchmarks/.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { build } from './build.mjs';
import { repository, setUp } from './setup.mjs';
import { listenForStop } from './stop-requests.mjs';

const signal = listenForStop();
try {
  await setUp({ purpose: 'bench', signal });
  console.log('Building …');
  await build(signal);
  process.exitCode = await runBenchmarks();
} catch (error) {
  if (!signal.aborted) console.error(error.message);
  process.exitCode = 1;
}

/** Its exit code. The channel tells the benchmarks when this process is gone without a word. */
async function runBenchmarks() {
  signal.throwIfAborted();
  const main = join(repository, 'benchmarks', 'dist', 'main.js');
  const benchmarks = spawn(process.execPath, [main, ...process.argv.slice(2)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  signal.addEventListener('abort', () => benchmarks.kill('SIGTERM'));
  return await new Promise((resolve, reject) => {
    benchmarks.once('error', reject);
    benchmarks.once('exit', (code) => resolve(code ?? 1));
  });
}
