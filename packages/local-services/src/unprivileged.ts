import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { AppError } from '@inference-server/errors';

/**
 * The words to put before a command that refuses to run as root: none for an ordinary user; for root
 * a user namespace in which it is somebody else, while outside its files stay root's (so that a data
 * folder below /root works) and its pid stays the one that was started.
 */
export async function unprivilegedPrefix(environment: NodeJS.ProcessEnv): Promise<string[]> {
  if (process.getuid?.() !== 0) return [];
  const uid = await firstOrdinaryUid();
  const [command, ...args] = ['unshare', '--user', `--map-user=${uid}`, `--map-group=${uid}`, '--'];
  try {
    await promisify(execFile)(command, [...args, 'true'], { env: environment, timeout: 10_000 });
  } catch (error) {
    throw new AppError(
      'SERVICE_UNAVAILABLE',
      'PostgreSQL refuses to run as root, and this machine refuses a user namespace (unshare --user): run as an ordinary user, or set DATABASE_URL to an existing database.',
      { cause: error },
    );
  }
  return [command, ...args];
}

/** initdb looks its user up by number: one that the machine knows. */
async function firstOrdinaryUid(): Promise<number> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n');
  const uids = lines.map((line) => Number(line.split(':')[2]));
  return uids.find((uid) => uid > 0) ?? 65_534;
}
