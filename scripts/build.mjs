import { join } from 'node:path';
import { runCommand } from './run-command.mjs';
import { repository } from './setup.mjs';

/** Builds what has changed since the last build; shows nothing unless it fails. */
export async function build(signal) {
  await runCommand(
    process.execPath,
    [join('node_modules', 'turbo', 'bin', 'turbo'), 'run', 'build', '--output-logs=errors-only'],
    {
      cwd: repository,
      env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1' },
      quiet: true,
      timeoutMs: 10 * 60_000,
      signal,
    },
  );
}
