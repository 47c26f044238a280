// Another checkout of the sources, to be changed and built apart from this one.
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { runCommand } from './run-command.mjs';
import { repository } from './setup.mjs';

/**
 * A folder of this process, whose name begins with the prefix; those of processes that were killed are
 * removed.
 */
export async function makeFolder(prefix) {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number.parseInt(name.slice(prefix.length), 10);
    if (!isAlive(pid))
      await rm(join(tmpdir(), name), { recursive: true, force: true, maxRetries: 5 });
  }
  return mkdtemp(join(tmpdir(), `${prefix}${process.pid}-`));
}

function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Another checkout with what git knows of this one, as it lies there. Nothing is written here. */
export async function openCopy(root, { purpose, signal }) {
  const scriptOfCopy = (name) => import(pathToFileURL(join(root, 'scripts', name)).href);
  return {
    root,
    async fill() {
      await mkdir(root);
      const { stdout } = await promisify(execFile)('git', ['ls-files', '-z', '--deduplicate'], {
        cwd: repository,
        maxBuffer: 64 * 1024 ** 2,
        signal,
      });
      for (const name of stdout.split('\0').filter((name) => name !== '')) {
        await mkdir(dirname(join(root, name)), { recursive: true });
        await cp(join(repository, name), join(root, name), { verbatimSymlinks: true }).catch(
          (error) => {
            // Removed, and git does not know it yet.
            if (error.code !== 'ENOENT') throw error;
          },
        );
      }
      await copyPackages(root, signal);
    },
    /** Installs what the packages that were copied lack. */
    async setUp() {
      const { setUp } = await scriptOfCopy('setup.mjs');
      await setUp({ purpose, signal });
    },
    async build() {
      const { build } = await scriptOfCopy('build.mjs');
      await build(signal);
    },
  };
}

/** The npm packages of all workspaces. Their links among each other are relative, and stay that. */
async function copyPackages(root, signal) {
  const { workspaces } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const folders = ['.'];
  for (const pattern of workspaces) {
    const parent = pattern.replace(/\/?\*$/, '');
    if (parent === pattern) folders.push(pattern);
    else for (const name of await readdir(join(root, parent))) folders.push(join(parent, name));
  }
  for (const folder of folders) {
    const there = await readdir(join(repository, folder)).catch(() => []);
    if (!there.includes('node_modules')) continue;
    const [from, to] = [repository, root].map((base) => join(base, folder, 'node_modules'));
    const how = ['-a', '--reflink=auto'];
    await runCommand('cp', [...how, from, to], { quiet: true, timeoutMs: 10 * 60_000, signal });
  }
}
