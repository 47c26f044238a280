import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { pack } from 'tar-stream';

/**
 * What an image's file system holds. Paths have no leading slash; everything belongs to root and
 * is as old as the epoch, so that the same files make the same image.
 *
 * @typedef {{ kind: 'directory', path: string, mode: number }
 *   | { kind: 'file', path: string, mode: number, content: string | Buffer }
 *   | { kind: 'local', path: string, mode: number, source: string }
 *   | { kind: 'link', path: string, target: string }} RootfsEntry
 */

/** @type {(path: string, mode?: number) => RootfsEntry} */
export const directory = (path, mode = 0o755) => ({ kind: 'directory', path, mode });

/** @type {(path: string, content: string | Buffer, mode?: number) => RootfsEntry} */
export const file = (path, content, mode = 0o644) => ({ kind: 'file', path, content, mode });

/**
 * A file of this machine; `source` may be a link, its target's content is taken.
 * @type {(path: string, source: string, mode?: number) => RootfsEntry}
 */
export const localFile = (path, source, mode = 0o644) => ({ kind: 'local', path, source, mode });

/** @type {(path: string, target: string) => RootfsEntry} */
export const link = (path, target) => ({ kind: 'link', path, target });

/**
 * The entries as a tar stream. A source that fails destroys the stream with its error.
 *
 * @param {RootfsEntry[]} entries
 * @returns {import('node:stream').Readable}
 */
export function tarOf(entries) {
  const tar = pack();
  writeEntries(tar, entries).then(
    () => tar.finalize(),
    (error) => tar.destroy(error),
  );
  return tar;
}

/**
 * Feeds a hash with everything that makes the entries what they are.
 *
 * @param {import('node:crypto').Hash} hash
 * @param {RootfsEntry[]} entries
 */
export async function hashEntries(hash, entries) {
  for (const entry of entries) {
    hash.update(JSON.stringify({ ...entry, source: undefined, content: undefined }));
    const content =
      entry.kind === 'local' ? createReadStream(entry.source) : [Buffer.from(entry.content ?? '')];
    let bytes = 0;
    for await (const chunk of content) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    // The length closes each content, so that none can pass for the start of the next entry.
    hash.update(`${bytes}\n`);
  }
}

/**
 * @param {import('tar-stream').Pack} tar
 * @param {RootfsEntry[]} entries
 */
async function writeEntries(tar, entries) {
  for (const entry of entries) await writeEntry(tar, entry);
}

async function writeEntry(tar, entry) {
  const header = { name: entry.path, mode: entry.mode, mtime: new Date(0) };
  if (entry.kind === 'local') {
    const { size } = await stat(entry.source);
    return pipeline(createReadStream(entry.source), tar.entry({ ...header, size }));
  }
  await new Promise((resolve, reject) => {
    const done = (error) => (error ? reject(error) : resolve(undefined));
    if (entry.kind === 'file') tar.entry(header, entry.content, done);
    if (entry.kind === 'directory') tar.entry({ ...header, type: 'directory' }, done);
    if (entry.kind === 'link') {
      tar.entry({ ...header, mode: 0o777, type: 'symlink', linkname: entry.target }, done);
    }
  });
}
