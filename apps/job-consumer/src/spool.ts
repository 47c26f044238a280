import { lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, toAppError } from '@inference-server/errors';

/**
 * The folder for zips on their way into volumes: ours alone, emptied of what an earlier start left.
 * Throws AppError, also when somebody else owns it (it may lie in a folder that all can write to).
 */
export async function openSpool(workDir: string, consumerId: string): Promise<string> {
  const folder = join(workDir, `inference-server-${consumerId}`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const found = await lstat(folder);
    if (!found.isDirectory() || found.uid !== process.getuid?.()) {
      throw new AppError('FORBIDDEN', `${folder} belongs to somebody else: set WORK_DIR.`);
    }
    for (const name of await readdir(folder)) {
      if (name.endsWith('.part')) await rm(join(folder, name), { force: true });
    }
    return folder;
  } catch (error) {
    throw toAppError(error, `opening the spool folder ${folder}`);
  }
}
