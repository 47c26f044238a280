import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { promisify } from 'node:util';
import { directory, link, localFile } from './rootfs.mjs';

/** Debian's busybox-static: one file with a shell and the usual commands, no library needed. */
const busybox = '/bin/busybox';

/**
 * A root file system with a shell and the usual commands, of this machine's busybox.
 *
 * @param {{ signal: AbortSignal }} options
 */
export async function busyboxRootfs({ signal }) {
  await access(busybox).catch((cause) => {
    throw new Error(`${busybox} is missing: apt-get install busybox-static`, { cause });
  });
  return [
    directory('bin'),
    directory('tmp', 0o1777),
    localFile('bin/busybox', busybox, 0o755),
    ...(await applets(signal)).map((name) => link(`bin/${name}`, 'busybox')),
  ];
}

/** The names under which this busybox knows its commands. */
async function applets(signal) {
  const { stdout } = await promisify(execFile)(busybox, ['--list'], { signal, timeout: 10_000 });
  return stdout.split('\n').filter((name) => name !== '' && name !== 'busybox');
}
