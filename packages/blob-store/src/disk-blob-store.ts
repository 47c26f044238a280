import { randomUUID } from 'node:crypto';
import {
  link,
  mkdir,
  open,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  unlink,
  writeFile,
  type FileHandle,
} from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { addAbortSignal } from 'node:stream';
import { AppError, systemCode, toAppError } from '@inference-server/errors';
import {
  assertBlobId,
  assertStagedName,
  isBlobId,
  isStagedName,
  type BlobStore,
  type ByteRange,
  type ListedFile,
  type OpenBlob,
  type ReceivedFile,
} from './blob-store.js';
import { clockOf, listFiles } from './list-files.js';

/**
 * Blobs as files: `<root>/blobs/<first two of the id>/<id>`, uploads in `<root>/staging`. A blob
 * appears by one rename after its bytes were flushed, so that no reader and no crash ever shows
 * part of it. `<root>/owner` says whose they are. Makes the folders. Several processes may share a root.
 */
export async function createDiskBlobStore(options: { root: string }): Promise<BlobStore> {
  const root = resolve(options.root);
  const blobs = join(root, 'blobs');
  const stagingFolder = join(root, 'staging');
  const ownerFile = join(root, 'owner');
  const folders = new Map<string, Promise<void>>();

  const folderOf = (id: string) => join(blobs, id.slice(0, 2));
  const pathOf = (id: string) => join(folderOf(id), id);

  /** Once per folder and process: the first to ask makes the folder, all wait until it is durable. */
  function prepare(folder: string): Promise<void> {
    const known = folders.get(folder);
    if (known !== undefined) return known;
    const prepared = makeFolder(folder);
    folders.set(folder, prepared);
    prepared.catch(() => folders.delete(folder));
    return prepared;
  }

  try {
    await makeFolder(blobs);
    await makeFolder(stagingFolder);
  } catch (error) {
    throw toAppError(error, `opening the blob store in ${root}`);
  }

  return {
    stagingFolder,

    put: (id, file, signal) =>
      guarded('storing a blob', signal, async () => {
        assertBlobId(id);
        await prepare(folderOf(id));
        await moveDurably(file, pathOf(id), signal);
      }),

    open: (id, { signal, range }) =>
      guarded('opening a blob', signal, async () => {
        assertBlobId(id);
        const file = await unlessAbsent(open(pathOf(id)));
        return file === undefined ? undefined : await openStream(file, range, signal);
      }),

    remove: (id, signal) =>
      guarded('removing a blob', signal, async () => {
        assertBlobId(id);
        await unlessAbsent(unlink(pathOf(id)).then(() => flush(folderOf(id))));
      }),

    size: (id, signal) =>
      guarded('looking at a blob', signal, async () => {
        assertBlobId(id);
        return (await unlessAbsent(stat(pathOf(id))))?.size;
      }),

    list: (signal) =>
      listGuarded('listing the blobs', signal, async function* () {
        const now = await clockOf(stagingFolder);
        for (const name of await readdir(blobs)) {
          // A file that lies in another folder than its own is none that would be found.
          const isOurs = (id: string) => isBlobId(id) && id.startsWith(name);
          if (name.length === 2) yield* listFiles(join(blobs, name), { isOurs, now, signal });
        }
      }),

    listStaged: (signal) =>
      listGuarded('listing the staging folder', signal, async function* () {
        const now = await clockOf(stagingFolder);
        yield* listFiles(stagingFolder, { isOurs: isStagedName, now, signal });
      }),

    removeStaged: (name, signal) =>
      guarded('removing a staged file', signal, async () => {
        assertStagedName(name);
        await unlessAbsent(unlink(join(stagingFolder, name)));
      }),

    owner: (signal) =>
      guarded('reading who owns the blob store', signal, () =>
        unlessAbsent(readFile(ownerFile, 'utf8')),
      ),

    claim: (owner, signal) =>
      guarded('claiming the blob store', signal, () => claimOnce(ownerFile, stagingFolder, owner)),

    check: (signal) =>
      guarded('checking the blob store', signal, () =>
        writeProbe(join(stagingFolder, `${randomUUID()}.probe`)),
      ),
  };
}

/** Makes the folder and flushes all that names it: a new folder is lost with its parent's cache. */
async function makeFolder(folder: string): Promise<void> {
  // Their names are of nobody's business but the server's, as what is in them is.
  const first = await mkdir(folder, { recursive: true, mode: 0o700 });
  const top = dirname(first ?? folder);
  for (let at = dirname(folder); at.length >= top.length; at = dirname(at)) {
    await flush(at);
    if (at === dirname(at)) return;
  }
}

async function moveDurably(file: ReceivedFile, to: string, signal: AbortSignal): Promise<void> {
  const received = await unlessAbsent(open(file.path));
  if (received === undefined) {
    if (!(await isStored(file, to))) {
      throw new AppError('INTERNAL', 'storing a blob: the received file is gone');
    }
  } else {
    try {
      await received.sync();
    } finally {
      await received.close();
    }
    signal.throwIfAborted();
    await rename(file.path, to);
  }
  await flush(dirname(to));
}

/** Whether an earlier put of the same file already moved it. */
async function isStored(file: ReceivedFile, path: string): Promise<boolean> {
  const stored = await unlessAbsent(stat(path));
  return stored?.size === file.bytes;
}

async function openStream(
  file: FileHandle,
  range: ByteRange | undefined,
  signal: AbortSignal,
): Promise<OpenBlob> {
  try {
    const { size: bytes } = await file.stat();
    if (
      range !== undefined &&
      !(range.start >= 0 && range.start <= range.end && range.start < bytes)
    ) {
      throw new AppError('VALIDATION_FAILED', 'The range does not lie within the blob.');
    }
    signal.throwIfAborted();
    const stream = file.createReadStream({ highWaterMark: readChunkBytes, ...range });
    // An abort before anybody reads is found by who reads then: unheard, it would end the process.
    stream.on('error', () => undefined);
    return { bytes, stream: addAbortSignal(signal, stream) };
  } catch (error) {
    await file.close();
    throw error;
  }
}

const readChunkBytes = 256 * 1024;

/** A link appears with all that it names, or not at all, and never in the place of another. */
async function claimOnce(file: string, stagingFolder: string, owner: string): Promise<void> {
  const draft = join(stagingFolder, `${randomUUID()}.owner`);
  try {
    await writeFile(draft, owner, { flag: 'wx', mode: 0o600, flush: true });
    await link(draft, file);
    await flush(dirname(file));
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

async function writeProbe(path: string): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.write('probe');
      await file.sync();
    } finally {
      await file.close();
      await rm(path, { force: true });
    }
  } catch (error) {
    const converted = toAppError(error, 'writing to the blob store');
    if (converted.code === 'STORAGE_FULL') throw converted;
    throw new AppError('SERVICE_UNAVAILABLE', 'The storage of the server cannot be written to.', {
      cause: error,
      retryAfterS: 10,
    });
  }
}

async function flush(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function unlessAbsent<T>(result: Promise<T>): Promise<T | undefined> {
  try {
    return await result;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Turns what the file system throws into AppErrors; an abort keeps its reason. */
async function guarded<T>(doing: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  try {
    return await work();
  } catch (error) {
    if (signal.aborted && error === signal.reason) throw error;
    throw toAppError(error, doing);
  }
}

/** The same for a listing. */
async function* listGuarded(
  doing: string,
  signal: AbortSignal,
  list: () => AsyncGenerator<ListedFile[]>,
): AsyncGenerator<ListedFile[]> {
  signal.throwIfAborted();
  try {
    yield* list();
  } catch (error) {
    if (signal.aborted && error === signal.reason) throw error;
    throw toAppError(error, doing);
  }
}
