import { AppError } from '@inference-server/errors';

/** Why a zip is refused, and the words for it. The keys are the `reason` of the problem body. */
const texts = {
  not_a_zip: 'it is not a zip',
  truncated: 'a part of it is missing',
  ambiguous_end: 'it can be read from more than one end',
  trailing_data: 'something follows its end',
  prefixed_data: 'something stands before its first entry',
  hidden_data: 'it holds bytes that belong to no entry',
  multi_disk: 'it is one part of several',
  entry_count: 'it does not hold as many entries as it says',
  bad_directory: 'its directory is damaged',
  bad_zip64: 'its 64-bit sizes and positions contradict the others',
  bad_extra: 'its extra fields are damaged or contradict each other',
  overlap: 'it overlaps another entry or the directory',
  header_mismatch: 'its header differs from what the directory says of it',
  descriptor_mismatch: 'its data descriptor differs from what the directory says of it',
  encrypted: 'it is encrypted',
  unknown_method: 'it is compressed with a method other than deflate',
  unknown_version: 'it asks for a later version of the format',
  empty_name: 'its name, or a part of it, is empty',
  absolute_name: 'its name is absolute',
  drive_name: 'its name begins with a drive letter',
  backslash: 'its name has a backslash in it',
  control_character: 'its name has a control character in it',
  dot_component: 'a part of its name is a single dot',
  traversal: 'a part of its name is a double dot',
  invalid_utf8: 'its name is not valid UTF-8',
  two_names: 'it has two names that differ',
  component_too_long: 'a part of its name is longer than 255 bytes',
  path_too_long: 'its name is longer than 1024 bytes',
  duplicate_name: 'an earlier entry has the same name',
  file_and_folder: 'its name is that of a file and of a folder',
  symlink: 'it is a symbolic link',
  special_file: 'it is neither a file nor a folder',
  kind_mismatch: 'its name and its mode disagree on whether it is a folder',
  folder_with_content: 'it is a folder with content',
  too_many_entries: 'it holds too many entries or folders',
  too_large: 'its content is too large',
  ratio: 'its content is too large for the size of the zip',
  too_much_memory: 'its names take too much memory',
  no_file: 'it holds no file',
  size_mismatch: 'its content is not as long as it says',
  crc_mismatch: 'its content does not match its checksum',
  bad_data: 'its compressed content is damaged',
} as const;

export type ZipRefusal = keyof typeof texts;

export const zipRefusals = Object.keys(texts) as readonly ZipRefusal[];

/** What was found, and where. Never a name: names may be a patient's, or markup. */
export interface ZipFinding {
  reason: ZipRefusal;
  /** The entry at fault, counted from 1 in the order of the directory; absent: the zip as a whole. */
  entry?: number;
  /** Where in the file the record stands that the finding is about (bytes). */
  offset?: number;
  /** The limit that was passed. */
  allowed?: number;
}

/** The rule in words: a clause about an entry or the zip as a whole. */
export function refusalText(reason: ZipRefusal): string {
  return texts[reason];
}

/** ZIP_REFUSED with the finding as its extensions. */
export function refuseZip(finding: ZipFinding, cause?: unknown): AppError {
  const { reason, entry, allowed } = finding;
  const subject = entry === undefined ? 'The zip' : `Entry ${entry} of the zip`;
  const limit = allowed === undefined ? '' : ` (allowed: ${allowed})`;
  return new AppError('ZIP_REFUSED', `${subject} is refused: ${texts[reason]}${limit}.`, {
    cause,
    extensions: { ...finding },
  });
}

/** The finding that a {@link refuseZip} carries; undefined for any other error. */
export function findingOf(error: unknown): ZipFinding | undefined {
  if (!(error instanceof AppError) || error.code !== 'ZIP_REFUSED') return undefined;
  return error.extensions as unknown as ZipFinding;
}
