import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  endLeftovers,
  identityOf,
  isAlive,
  unmountAll,
  type ProcessIdentity,
} from '@inference-server/local-services';

const prefix = 'is-test-';

/**
 * The folder of a test run: everything that the run writes is below it. First ends and removes what
 * runs that were killed have left behind.
 */
export async function makeRunFolder(environment: NodeJS.ProcessEnv): Promise<string> {
  for (const name of await readdir(tmpdir())) {
    const folder = join(tmpdir(), name);
    if (name.startsWith(prefix) && (await isAbandoned(folder))) {
      await removeRunFolder(folder, environment);
    }
  }
  const folder = await mkdtemp(join(tmpdir(), prefix));
  await writeFile(join(folder, 'owner.json'), JSON.stringify(identityOf(process.pid)));
  return folder;
}

/** Ends processes whose records lie in the folder or in one right below it, then removes it. */
export async function removeRunFolder(
  folder: string,
  environment: NodeJS.ProcessEnv,
): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await endLeftovers(join(folder, entry.name));
  }
  await endLeftovers(folder);
  await unmountAll([folder], environment);
  await rm(folder, { recursive: true, force: true });
}

async function isAbandoned(folder: string): Promise<boolean> {
  const text = await readFile(join(folder, 'owner.json'), 'utf8').catch(() => undefined);
  // Without an owner's mark it is somebody else's, or a run that is starting this moment.
  return text !== undefined && !isAlive(JSON.parse(text) as ProcessIdentity);
}
