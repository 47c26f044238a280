import type { Readable } from 'node:stream';
import { AppError } from '@inference-server/errors';
import { nameProblem } from './entry-name.js';
import { createEntryTree } from './entry-tree.js';
import { placesOf } from './name-readings.js';
import { refuseOutput } from './output-refused.js';
import { readableOf } from './readable-of.js';
import { readTarEntries, type TarEntry } from './tar-entries.js';
import { writeZip, type NewZipEntry } from './zip-writer.js';
import { refusalText, type ZipRefusal } from './zip-refused.js';

export interface TarToZipOptions {
  signal: AbortSignal;
  /** Of all files together, unzipped. */
  maxBytes: number;
  /** Files, folders and what is left out. */
  maxEntries: number;
  /** Told of each entry that the zip cannot carry, in one printable line of bounded length. */
  onLeftOut: (line: string) => void;
  /**
   * The tar of the one path that a hard link leads to, relative to the folder. Asked for when `tar`
   * is at its end, for one link after the other: an engine may answer one such request at a time.
   * Without it hard links are left out.
   */
  openHardLink?: (target: string) => Promise<Readable>;
}

/**
 * The tar of one folder, as a container engine gives it (its name before every path), as a zip of
 * what the folder holds. Symbolic links, special files and names that the gate would refuse are left
 * out with a line; no symbolic link is ever followed. A hard link becomes a file of its own, behind
 * all others, and its bytes count again. Kept: folders, also empty ones, names, times, and whether a
 * file is executable; owners and other modes are not.
 *
 * The stream is destroyed with ZIP_REFUSED when what was in the tar is at fault: not a folder, over
 * a limit, too many hard links (each is a request of its own), or two names that are one to the gate
 * (neither is silently dropped); with an AbortError when aborted. Any other error is INTERNAL: the tar
 * is damaged or was cut off.
 * Destroys `tar` when it ends, and whatever it has opened.
 */
export function tarToZip(tar: Readable, options: TarToZipOptions): Readable {
  let latest = tar;
  let closed = false;
  const read = (source: Readable) => {
    latest = source;
    if (closed) source.destroy();
    return readTarEntries(source);
  };
  const zip = readableOf(writeZip(chooseEntries(tar, options, read)), options.signal);
  // Also frees the generators from waiting for a tar that has gone silent.
  zip.once('close', () => {
    closed = true;
    latest.destroy();
  });
  return zip;
}

async function* chooseEntries(
  tar: Readable,
  { maxBytes, maxEntries, onLeftOut, openHardLink }: TarToZipOptions,
  read: typeof readTarEntries,
): AsyncGenerator<NewZipEntry> {
  const tree = createEntryTree({ maxFolders: maxEntries });
  const hardLinks: HardLink[] = [];
  let root: string | undefined;
  let entries = 0;
  let bytes = 0;
  const countBytes = (more: number) => {
    bytes += more;
    if (bytes > maxBytes) throw refuseOutput('too_large', maxBytes);
  };
  const addToTree = (path: string, kind: 'file' | 'folder') => {
    const [, ...otherPaths] = placesOf(path, kind);
    const answer = tree.add(path, kind, { otherPaths, blurredPaths: [] });
    if ('refused' in answer) throw refuseOutput(answer.refused);
  };
  for await (const entry of read(tar)) {
    const name = entry.name.replace(/\/$/, '');
    if (root === undefined) {
      if (entry.kind !== 'folder') throw refuseOutput('not_a_folder');
      root = `${name}/`;
      continue;
    }
    entries += 1;
    if (entries > maxEntries) throw refuseOutput('too_many_entries', maxEntries);
    countBytes(entry.bytes);
    if (!name.startsWith(root)) {
      throw new AppError('INTERNAL', 'reading a tar: an entry lies outside its folder');
    }
    const path = name.slice(root.length);
    const target = openHardLink && targetOf(entry, root);
    const leftOut = whyLeftOut(entry, path, target);
    if (leftOut !== undefined) {
      onLeftOut(leftOut);
      continue;
    }
    if (target !== undefined) {
      if (hardLinks.length === maxHardLinks)
        throw refuseOutput('too_many_hard_links', maxHardLinks);
      hardLinks.push({ path, target });
      continue;
    }
    const kind = entry.kind === 'folder' ? 'folder' : 'file';
    addToTree(path, kind);
    yield kind === 'folder' ? newFolder(entry, path) : newFile(entry, path);
  }
  if (root === undefined) throw refuseOutput('not_a_folder');
  if (openHardLink === undefined) return;
  for (const { path, target } of hardLinks) {
    const found = read(await openHardLink(target));
    try {
      const first = await found.next();
      if (first.done === true || first.value.kind !== 'file') {
        onLeftOut(`left out: hard link ${printable(path)}`);
        continue;
      }
      countBytes(first.value.bytes);
      addToTree(path, 'file');
      yield newFile(first.value, path);
      // Only its end tells that the tar was not cut off.
      if ((await found.next()).done !== true) {
        throw new AppError('INTERNAL', 'reading a tar: it holds more than the one file');
      }
    } finally {
      await found.return(undefined);
    }
  }
}

/** An engine takes some 80 ms to answer for one: so these take it two minutes, not hours. */
const maxHardLinks = 1_000;

/** Both relative to the folder. */
interface HardLink {
  path: string;
  target: string;
}

/** What a hard link leads to, when that is a file that the zip could have in the folder. */
function targetOf({ kind, linkName }: TarEntry, root: string): string | undefined {
  if (kind !== 'hard link' || !linkName.startsWith(root)) return undefined;
  const target = linkName.slice(root.length);
  return pathProblem(target, 'file') === undefined ? target : undefined;
}

function newFile(entry: TarEntry, path: string): NewZipEntry {
  const permissions = (entry.mode & 0o111) === 0 ? 0o644 : 0o755;
  return { ...entry, path, mode: 0o100000 | permissions };
}

function newFolder(entry: TarEntry, path: string): NewZipEntry {
  return { ...entry, path: `${path}/`, mode: 0o040755 };
}

/** The line for the log, or undefined when the entry goes into the zip. */
function whyLeftOut(
  { kind }: TarEntry,
  path: string,
  target: string | undefined,
): string | undefined {
  const special = target === undefined && kind !== 'file' && kind !== 'folder';
  const what = kind === 'unknown' ? 'entry of an unknown kind' : kind;
  if (special) return `left out: ${what} ${printable(path)}`;
  const problem = pathProblem(path, kind === 'folder' ? 'folder' : 'file');
  return problem && `left out: ${printable(path)}: ${refusalText(problem)}`;
}

/** As the gate will find it. */
function pathProblem(path: string, kind: 'file' | 'folder'): ZipRefusal | undefined {
  // The tar's reader puts this character where bytes are not UTF-8.
  if (path.includes('\uFFFD')) return 'invalid_utf8';
  for (const place of placesOf(path, kind)) {
    const problem = nameProblem(place);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** One line of bounded length, whatever the name: names can hold line breaks and escape codes. */
function printable(name: string): string {
  let shown = '';
  for (const character of name) {
    const code = character.codePointAt(0)?.toString(16) ?? '';
    const part = /[\p{C}\p{Zl}\p{Zp}]/u.test(character) ? `\\u{${code}}` : character;
    if (shown.length + part.length > maxShown) return `${shown}…`;
    shown += part;
  }
  return shown;
}

const maxShown = 300;
