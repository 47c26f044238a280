// node scripts/complete-lock-file.mjs: run it after npm install when the test of the lock file fails.
// A registry that lacks the builds of a package for other platforms makes npm leave them out of the
// lock file, and npm ci then refuses the whole file. An entry with the platform is enough: npm never
// fetches what is for another one.
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

/**
 * The optional dependencies that have no entry in the lock file, as entries to add.
 *
 * @param {Record<string, { optionalDependencies?: Record<string, string> }>} packages
 * @returns {Record<string, { version: string, optional: true, os?: string[], cpu?: string[] }>}
 */
export function missingEntries(packages) {
  const missing = {};
  for (const [path, { optionalDependencies = {} }] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(optionalDependencies)) {
      if (!isThere(packages, path, name)) {
        missing[`node_modules/${name}`] = { version, optional: true, ...platformOf(name) };
      }
    }
  }
  return missing;
}

/** Looks where node would look: beside the dependent, then in every folder above it. */
function isThere(packages, path, name) {
  for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/')))) {
    if (`${folder}${folder === '' ? '' : '/'}node_modules/${name}` in packages) return true;
    if (folder === '') return false;
  }
}

/** These packages carry their platform in their name. */
function platformOf(name) {
  const words = name
    .split('/')
    .at(-1)
    .split('-')
    .map((word) => ({ windows: 'win32', 64: 'x64' })[word] ?? word);
  const os = words.filter((word) => systems.includes(word));
  const cpu = words.filter((word) => processors.includes(word));
  return { ...(os.length > 0 && { os }), ...(cpu.length > 0 && { cpu }) };
}

const systems = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32'];
const processors = ['arm', 'arm64', 'ia32', 'ppc64', 'riscv64', 's390x', 'x64'];

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const path = new URL('../package-lock.json', import.meta.url);
  const lock = JSON.parse(await readFile(path, 'utf8'));
  const packages = { ...lock.packages, ...missingEntries(lock.packages) };
  const sorted = Object.fromEntries(
    Object.entries(packages).sort(([a], [b]) => a.localeCompare(b, 'en')),
  );
  await writeFile(path, `${JSON.stringify({ ...lock, packages: sorted }, undefined, 2)}\n`);
}
