import { createHash } from 'node:crypto';
import AdmZip from 'adm-zip';

/** The SHA-256 of the bytes, in hex. */
export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The SHA-256 of each file of a zip, by its name. Throws when it is none. */
export function digestsOf(zip: Buffer): Record<string, string> {
  const files = new AdmZip(zip).getEntries().filter(({ isDirectory }) => !isDirectory);
  return Object.fromEntries(files.map((file) => [file.entryName, sha256(file.getData())]));
}

/** Whether both are the same files with the same digests; undefined: there are none to be had. */
export function areSameFiles(
  one: Record<string, string> | undefined,
  other: Record<string, string> | undefined,
): boolean {
  const text = (files: Record<string, string> | undefined) =>
    files === undefined ? '' : JSON.stringify(Object.entries(files).sort());
  return text(one) === text(other);
}
