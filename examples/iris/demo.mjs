import { readFileSync } from 'node:fs';
import AdmZip from 'adm-zip';

const read = (name) => readFileSync(new URL(name, import.meta.url));

/** What the model takes and gives, for its registration. */
export const contract = read('contract.json').toString('utf8');

/**
 * The model's files: the weights.
 * @returns {Buffer}
 */
export function modelZip() {
  const zip = new AdmZip();
  zip.addFile('weights.json', read('model/weights.json'));
  return zip.toBuffer();
}

/** Three flowers, one of each species: the inputs of a call in plain JSON. */
export const inputs = {
  measurements: [
    [5.1, 3.5, 1.4, 0.2],
    [7.0, 3.2, 4.7, 1.4],
    [6.3, 3.3, 6.0, 2.5],
  ],
};
