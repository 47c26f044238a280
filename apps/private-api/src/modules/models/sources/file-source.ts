import { constants } from 'node:fs';
import { open, realpath, stat, type FileHandle } from 'node:fs/promises';
import { sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { systemCode, toAppError } from '@inference-server/errors';
import { nothingThere, refusedUrl, sourceStream, type ModelSource } from './model-source.js';

/**
 * Files below `folder`: by their path in it (`file:models/a.zip`), or from the root (`file:///models/a.zip`).
 * Links are followed, but not out of the folder; all that is outside is answered alike, there or not.
 */
export function createFileSource(folder: string | undefined): ModelSource {
  return {
    async open(url, signal) {
      if (folder === undefined) throw refusedUrl('is of a file, and MODEL_SOURCE_DIR is not set');
      const path = pathOf(url, folder);
      const file = await openBelow(folder, path).catch((error: unknown) => {
        throw absent.has(systemCode(error) ?? '')
          ? nothingThere(error)
          : toAppError(error, 'opening the file of a model_url');
      });
      try {
        const { size } = await file.stat();
        const from = file.createReadStream();
        return { stream: sourceStream(from, from as AsyncIterable<Buffer>, signal), bytes: size };
      } catch (error) {
        await file.close();
        throw error;
      }
    },
  };
}

/** Of a path that leads nowhere, or where this process may not go. */
const absent = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'EACCES', 'EPERM', 'ENXIO']);

function pathOf(url: string, folder: string): string {
  try {
    const parsed = new URL(url, pathToFileURL(folder + sep));
    if (parsed.search !== '' || parsed.hash !== '') throw new Error('more than a path');
    const path = fileURLToPath(parsed);
    if (path.includes('\0')) throw new Error('a NUL');
    return path;
  } catch (error) {
    throw refusedUrl('is no path of a file', error);
  }
}

/** What was looked at and what is open are one file, whatever others do in the folder meanwhile. */
async function openBelow(folder: string, path: string): Promise<FileHandle> {
  const root = await realpath(folder);
  const real = await realpath(path);
  if (!isBelow(real, root)) throw nothingThere();
  // Without waiting for who would write into a pipe.
  const file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const opened = await file.stat();
    const again = await realpath(real);
    const there = await stat(again);
    const isSame = opened.dev === there.dev && opened.ino === there.ino;
    if (opened.isFile() && isSame && isBelow(again, root)) return file;
    throw nothingThere();
  } catch (error) {
    await file.close();
    throw error;
  }
}

function isBelow(path: string, root: string): boolean {
  return path.startsWith(root.endsWith(sep) ? root : root + sep);
}
