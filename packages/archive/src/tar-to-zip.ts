import type { Readable } from 'node:stream';
import { AppError } from '@inference-server/errors';
import { nameProblem } from './entry-name.js';
import { createEntryTree } from './entry-tree.js';
import { refuseOutput } from './output-refused.js';
import { readableOf } from './readable-of.js';
import { readTarEntries, type TarEntry } from './tar-entries.js';
import { writeZip, type NewZipEntry } from './zip-writer.js';
import { refusalText } from './zip-refused.js';

export interface TarToZipOptions {
  signal: AbortSignal;
  /** Of all files together, unzipped. */
  maxBytes: number;
  /** Files, folders and what is left out. */
  maxEntries: number;
  /** Told of each entry that the zip cannot carry, in one printable line. */
  onLeftOut: (line: string) => void;
}

/**
 * The tar of one folder, as a container engine gives it (its name before every path), as a zip of
 * what the folder holds. Links, special files and names that the gate would refuse are left out with
 * a line; nothing is ever followed. Kept: folders, also empty ones, names, times, and whether a file
 * is executable; owners and other modes are not.
 *
 * The stream is destroyed with ZIP_REFUSED when what was in the tar is at fault: not a folder, over
 * a limit, or two names that are one after Unicode normalisation (neither is silently dropped); with
 * an AbortError when aborted. Any other error is INTERNAL: the tar is damaged or was cut off.
 * Destroys `tar` when it ends.
 */
export function tarToZip(tar: Readable, options: TarToZipOptions): Readable {
  const zip = readableOf(writeZip(chooseEntries(tar, options)), options.signal);
  // Also frees the generators from waiting for a tar that has gone silent.
  zip.once('close', () => tar.destroy());
  return zip;
}

async function* chooseEntries(
  tar: Readable,
  { maxBytes, maxEntries, onLeftOut }: TarToZipOptions,
): AsyncGenerator<NewZipEntry> {
  const tree = createEntryTree({ maxFolders: maxEntries });
  let root: string | undefined;
  let entries = 0;
  let bytes = 0;
  for await (const entry of readTarEntries(tar)) {
    const name = entry.name.replace(/\/$/, '');
    if (root === undefined) {
      if (entry.kind !== 'directory') throw refuseOutput('not_a_folder');
      root = `${name}/`;
      entry.skip();
      continue;
    }
    entries += 1;
    bytes += entry.bytes;
    if (entries > maxEntries) throw refuseOutput('too_many_entries', maxEntries);
    if (bytes > maxBytes) throw refuseOutput('too_large', maxBytes);
    if (!name.startsWith(root)) {
      throw new AppError('INTERNAL', 'reading a tar: an entry lies outside its folder');
    }
    const path = name.slice(root.length);
    const leftOut = whyLeftOut(entry, path);
    if (leftOut !== undefined) {
      onLeftOut(leftOut);
      entry.skip();
      continue;
    }
    const kind = entry.kind === 'directory' ? 'folder' : 'file';
    const answer = tree.add(path, kind);
    if ('refused' in answer) throw refuseOutput(answer.refused);
    yield kind === 'folder' ? newFolder(entry, path) : newFile(entry, path);
  }
  if (root === undefined) throw refuseOutput('not_a_folder');
}

function newFile(entry: TarEntry, path: string): NewZipEntry {
  const permissions = (entry.mode & 0o111) === 0 ? 0o644 : 0o755;
  return { ...entry, path, mode: 0o100000 | permissions };
}

function newFolder(entry: TarEntry, path: string): NewZipEntry {
  return { ...entry, path: `${path}/`, mode: 0o040755 };
}

/** The line for the log, or undefined when the entry goes into the zip. */
function whyLeftOut({ kind }: TarEntry, path: string): string | undefined {
  const special = specialKinds[kind];
  if (special !== undefined) return `left out: ${special} ${printable(path)}`;
  // The tar's reader puts this character where bytes are not UTF-8.
  const problem = path.includes('\uFFFD') ? 'invalid_utf8' : nameProblem(path);
  return problem && `left out: ${printable(path)}: ${refusalText(problem)}`;
}

/** All kinds but files and folders. */
const specialKinds: Partial<Record<TarEntry['kind'], string>> = {
  link: 'hard link',
  symlink: 'symbolic link',
  fifo: 'fifo',
  'character-device': 'device',
  'block-device': 'device',
  unknown: 'entry of an unknown kind',
};

/** One line of bounded length, whatever the name: names can hold line breaks and escape codes. */
function printable(name: string): string {
  const shown = name.length > maxShown ? `${name.slice(0, maxShown)}…` : name;
  return shown.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    return `\\u{${character.codePointAt(0)?.toString(16) ?? ''}}`;
  });
}

const maxShown = 300;
