import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

/**
 * What npm says of the lock file in `folder`, as CycloneDX, without what is of this run or machine: time, a
 * random number, the folder's name, npm's version. The number is made of the lock file instead.
 *
 * @param {string} folder
 * @returns {Promise<{ bomFormat: string, serialNumber: string, metadata: object, components: object[] }>}
 */
export async function createSbom(folder) {
  const npm = process.env.npm_execpath;
  const [command, ...words] = npm === undefined ? ['npm'] : [process.execPath, npm];
  const args = [
    'sbom',
    '--sbom-format=cyclonedx',
    '--sbom-type=application',
    '--package-lock-only',
  ];
  const { stdout } = await promisify(execFile)(command, [...words, ...args], {
    cwd: folder,
    timeout: 2 * 60_000,
    maxBuffer: 64 * 1024 ** 2,
  });
  const { metadata, components, dependencies, ...rest } = JSON.parse(stdout);
  const { name } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  return {
    ...rest,
    serialNumber: `urn:uuid:${uuidOf(await readFile(join(folder, 'package-lock.json')))}`,
    metadata: {
      lifecycles: metadata.lifecycles,
      tools: metadata.tools.map(({ vendor, name: tool }) => ({ vendor, name: tool })),
      component: { ...metadata.component, name },
    },
    components: components.toSorted(by('bom-ref')),
    dependencies: dependencies
      .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.toSorted() }))
      .toSorted(by('ref')),
  };
}

/** Of version 8: of the content alone. */
function uuidOf(content) {
  const hex = createHash('sha256').update(content).digest('hex');
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `a${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-');
}

function by(name) {
  return (left, right) => (left[name] < right[name] ? -1 : Number(left[name] > right[name]));
}
