import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Applies all migrations, as a deployment does it. */
export async function migrate(url: string, repository: string, environment: NodeJS.ProcessEnv) {
  const script = join(repository, 'apps', 'private-api', 'dist', 'migrate.js');
  if (!existsSync(script)) throw new Error(`${script} is not there: run npm run build`);
  await promisify(execFile)(process.execPath, [script], {
    env: { ...environment, DATABASE_URL: url },
    timeout: 60_000,
  });
}
