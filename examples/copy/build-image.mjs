import { execFile } from 'node:child_process';
import { access, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  buildFromFiles,
  directory,
  file,
  link,
  localFile,
} from '@inference-server/example-image-import';

/** Debian's busybox-static: one file with a shell and the usual commands, no library needed. */
const busybox = '/bin/busybox';

/**
 * Makes the image without a registry; does nothing when the engine has it already.
 *
 * @param {{ dockerHost: string, signal: AbortSignal }} options
 * @returns {Promise<string>} the image's tag
 */
export async function buildImage({ dockerHost, signal }) {
  await access(busybox).catch((cause) => {
    throw new Error(`${busybox} is missing: apt-get install busybox-static`, { cause });
  });
  const script = await readFile(new URL('copy.sh', import.meta.url));
  return buildFromFiles({
    tag: 'inference-server/copy:1',
    entries: [
      directory('bin'),
      directory('tmp', 0o1777),
      localFile('bin/busybox', busybox, 0o755),
      ...(await applets(signal)).map((name) => link(`bin/${name}`, 'busybox')),
      file('copy.sh', script),
    ],
    changes: ['CMD ["sh", "/copy.sh"]', 'ENV PATH=/bin'],
    dockerHost,
    signal,
  });
}

/** The names under which this busybox knows its commands. */
async function applets(signal) {
  const { stdout } = await promisify(execFile)(busybox, ['--list'], { signal, timeout: 10_000 });
  return stdout.split('\n').filter((name) => name !== '' && name !== 'busybox');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dockerHost = process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
  console.log(await buildImage({ dockerHost, signal: AbortSignal.timeout(120_000) }));
}
