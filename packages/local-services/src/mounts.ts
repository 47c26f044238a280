import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { toAppError } from '@inference-server/errors';

/** Unmounts whatever is mounted on or below the given folders of ours, the last mounted first. */
export async function unmountAll(
  folders: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<void> {
  const mounts = (await mountPoints()).filter((path) =>
    folders.some((folder) => `${path}/`.startsWith(`${folder}/`)),
  );
  for (const path of mounts.reverse()) {
    try {
      await promisify(execFile)('umount', [path], { env: environment, timeout: 30_000 });
    } catch (error) {
      throw toAppError(error, `unmounting ${path}`);
    }
  }
}

/** In the order in which they were mounted. */
export async function mountPoints(): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).trimEnd().split('\n');
  return lines.map((line) => unescape(line.split(' ')[4] ?? ''));
}

/** The kernel writes blanks and the like as three octal digits. */
function unescape(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_match, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
