import { AppError } from '@inference-server/errors';

/** Why a zip is refused, and the words for it. The keys are the `reason` of the problem body. */
const texts = {
  not_a_zip: 'it is not a zip',
  truncated: 'its end is missing',
  malformed: 'its structure is damaged',
  encrypted: 'it is encrypted',
  unknown_method: 'it is compressed with a method other than deflate',
  empty_name: 'its name, or a part of it, is empty',
  absolute_name: 'its name is absolute',
  drive_name: 'its name begins with a drive letter',
  backslash: 'its name has a backslash in it',
  control_character: 'its name has a control character in it',
  dot_component: 'a part of its name is a single dot',
  traversal: 'a part of its name is a double dot',
  invalid_utf8: 'its name is not valid UTF-8',
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
  no_file: 'it holds no file',
  size_mismatch: 'its content is not as long as it says',
  crc_mismatch: 'its content does not match its checksum',
  bad_data: 'its compressed content is damaged',
} as const;

export type ZipRefusal = keyof typeof texts;

export const zipRefusals = Object.keys(texts) as readonly ZipRefusal[];

/** The rule in words: a clause about an entry or the zip as a whole. */
export function refusalText(reason: ZipRefusal): string {
  return texts[reason];
}

/**
 * The ZIP_REFUSED that says which rule is broken, and by which entry, counted from 1 in the order of
 * the zip's directory. Names of entries are never repeated: they may be a patient's, or markup.
 */
export function refuseZip(
  reason: ZipRefusal,
  { entry, allowed, cause }: { entry?: number; allowed?: number; cause?: unknown } = {},
): AppError {
  const subject = entry === undefined ? 'The zip' : `Entry ${entry} of the zip`;
  const limit = allowed === undefined ? '' : ` (allowed: ${allowed})`;
  return new AppError('ZIP_REFUSED', `${subject} is refused: ${texts[reason]}${limit}.`, {
    cause,
    extensions: { reason },
  });
}
