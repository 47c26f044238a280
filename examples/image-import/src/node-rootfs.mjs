import { execFile } from 'node:child_process';
import { realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { directory, file, localFile } from './rootfs.mjs';

const run = promisify(execFile);

/**
 * The smallest file system that runs node: this very node, the shared libraries that the system's
 * loader names for it, the loader itself, and the accounts root and node (uid 1000).
 *
 * @param {{ signal: AbortSignal }} options
 */
export async function nodeRootfs({ signal }) {
  const node = process.execPath;
  const libraries = await sharedLibraries(node, signal);
  const parents = new Set([...libraries, '/usr/bin/node'].flatMap(parentsOf));
  return [
    ...[...parents].toSorted().map((path) => directory(path.slice(1))),
    directory('etc'),
    directory('tmp', 0o1777),
    file(
      'etc/passwd',
      'root:x:0:0:root:/:/sbin/nologin\nnode:x:1000:1000:node:/tmp:/sbin/nologin\n',
    ),
    file('etc/group', 'root:x:0:\nnode:x:1000:\n'),
    localFile('usr/bin/node', await realpath(node), 0o755),
    ...libraries.map((path) => localFile(path.slice(1), path, 0o755)),
  ];
}

/** The absolute paths that ldd prints, the loader's among them; a static binary has none. */
async function sharedLibraries(binary, signal) {
  const { stdout } = await run('ldd', [binary], { signal, timeout: 10_000 }).catch((error) => {
    if (/not a dynamic executable/.test(`${error.stderr}${error.stdout}`)) return { stdout: '' };
    throw error;
  });
  if (/=> not found/.test(stdout)) throw new Error(`A library of ${binary} is missing:\n${stdout}`);
  return [...stdout.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)].map(([, path]) => path);
}

function parentsOf(path) {
  const parent = dirname(path);
  return parent === '/' ? [] : [...parentsOf(parent), parent];
}
