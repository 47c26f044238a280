import type { Entry } from 'yauzl';
import type { ZipRefusal } from './zip-refused.js';

/**
 * Whether a mode, if the entry carries one, allows the kind that the name tells (a slash at the end
 * makes a folder). Looked at whatever system the zip claims to come from: extractors differ on that.
 */
export function modeProblem(entry: Entry, kind: 'file' | 'folder'): ZipRefusal | undefined {
  switch (modeOf(entry) & fileType.mask) {
    case fileType.none:
      return undefined;
    case fileType.file:
      return kind === 'file' ? undefined : 'kind_mismatch';
    case fileType.folder:
      return kind === 'folder' ? undefined : 'kind_mismatch';
    case fileType.symlink:
      return 'symlink';
    default:
      return 'special_file';
  }
}

export function isExecutable(entry: Entry): boolean {
  return (modeOf(entry) & 0o111) !== 0;
}

/** The unix mode: the upper half of the external attributes; 0 when there is none. */
function modeOf(entry: Entry): number {
  return entry.externalFileAttributes >>> 16;
}

const fileType = {
  mask: 0o170000,
  none: 0,
  folder: 0o040000,
  file: 0o100000,
  symlink: 0o120000,
} as const;
