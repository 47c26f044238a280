import { readFileSync } from 'node:fs';

/** What the model takes and gives, for its registration; it has no files. */
export const contract = readFileSync(new URL('contract.json', import.meta.url), 'utf8');

/** The inputs of a call in plain JSON. */
export const inputs = {
  numbers: [0.5, 'NaN'],
  ids: [1, '9223372036854775807'],
  texts: ['hello', { base64: '/wA=' }],
  flag: true,
};
