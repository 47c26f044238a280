import type { ZipRefusal } from './zip-refused.js';

/**
 * Whether a unix mode, 0 when the entry carries none, allows the kind that the name tells (a slash at the end
 * makes a folder). Looked at whatever system the zip claims to come from: extractors differ on that.
 */
export function modeProblem(mode: number, kind: 'file' | 'folder'): ZipRefusal | undefined {
  switch (mode & fileType.mask) {
    case fileType.none:
      return undefined;
    case fileType.file:
      return kind === 'file' ? undefined : 'kind_mismatch';
    // Info-ZIP and 7-Zip say so of content that came out of a pipe; no zip holds a pipe itself.
    case fileType.pipe:
      return kind === 'file' ? undefined : 'special_file';
    case fileType.folder:
      return kind === 'folder' ? undefined : 'kind_mismatch';
    case fileType.symlink:
      return 'symlink';
    default:
      return 'special_file';
  }
}

/**
 * The same of the attributes of DOS and Windows: readers leave out the label of a disk, make a link of
 * a reparse point, and a folder where the attribute alone says so.
 */
export function attributeProblem(
  attributes: number,
  kind: 'file' | 'folder',
): ZipRefusal | undefined {
  if ((attributes & attribute.label) !== 0) return 'special_file';
  if ((attributes & attribute.reparsePoint) !== 0) return 'symlink';
  return (attributes & attribute.folder) !== 0 && kind === 'file' ? 'kind_mismatch' : undefined;
}

export function isExecutable(mode: number): boolean {
  return (mode & 0o111) !== 0;
}

const fileType = {
  mask: 0o170000,
  none: 0,
  pipe: 0o010000,
  folder: 0o040000,
  file: 0o100000,
  symlink: 0o120000,
} as const;

const attribute = { label: 0x8, folder: 0x10, reparsePoint: 0x400 } as const;
