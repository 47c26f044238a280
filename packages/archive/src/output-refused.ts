import { AppError } from '@inference-server/errors';

/** Why what a model left in its output folder cannot become a zip. */
const texts = {
  not_a_folder: 'it is no longer a folder',
  too_many_entries: 'it holds too many files and folders',
  too_large: 'it holds too many bytes',
  too_many_hard_links: 'it holds too many hard links',
  duplicate_name:
    'it holds two names that differ only in their Unicode normalisation or in a version (as in a;1)',
  file_and_folder: 'it holds a file and a folder of one name',
} as const;

export type OutputRefusal = keyof typeof texts;

/** A fault of the model's: ZIP_REFUSED with the rule in `extensions.reason`. */
export function refuseOutput(reason: OutputRefusal, allowed?: number): AppError {
  const limit = allowed === undefined ? '' : ` (allowed: ${allowed})`;
  return new AppError('ZIP_REFUSED', `The output is refused: ${texts[reason]}${limit}.`, {
    extensions: { reason },
  });
}
