/** What is wrong with the volume or the table, in words for whoever posted them. */
export class InputError extends Error {
  override readonly name = 'InputError';
}
