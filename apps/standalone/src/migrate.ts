import { execFile } from 'node:child_process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { AppError, messageOf } from '@inference-server/errors';
import { appFile } from './app-files.js';
import type { Given } from './services.js';

/** Brings the database up to this version, as a deployment does it. Says so while others have its tables. */
export async function migrate(
  databaseUrl: string,
  { environment, signal, print }: Given,
): Promise<void> {
  const env = { ...environment, DATABASE_URL: databaseUrl };
  const file = appFile('private-api', 'migrate.js');
  try {
    const migrating = promisify(execFile)(process.execPath, [file], {
      env,
      signal,
      timeout: 120_000,
    });
    const { stdout } = migrating.child;
    if (stdout !== null) {
      createInterface(stdout).on('line', (line) => {
        if (line.endsWith('trying again')) print(line);
      });
    }
    await migrating;
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    throw new AppError(
      'SERVICE_UNAVAILABLE',
      `The database could not be brought up to this version: ${stderr?.trim() || messageOf(error)}`,
      { cause: error },
    );
  }
}
