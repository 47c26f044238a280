import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { AppError, messageOf } from '@inference-server/errors';
import { appFile } from './app-files.js';
import type { Given } from './services.js';

/** Brings the database up to this version, as a deployment does it. */
export async function migrate(databaseUrl: string, { environment, signal }: Given): Promise<void> {
  const env = { ...environment, DATABASE_URL: databaseUrl };
  const file = appFile('private-api', 'migrate.js');
  try {
    await promisify(execFile)(process.execPath, [file], { env, signal, timeout: 120_000 });
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    throw new AppError(
      'SERVICE_UNAVAILABLE',
      `The database could not be brought up to this version: ${stderr?.trim() || messageOf(error)}`,
      { cause: error },
    );
  }
}
