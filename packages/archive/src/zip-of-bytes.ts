import type { ZipFile } from './zip-file.js';
import { refuseZip } from './zip-refused.js';

/** A zip that is in memory, as {@link openZipFile} gives one that is a file. What it gives are slices. */
export function zipOfBytes(zip: Buffer): ZipFile {
  const slice = (start: number, end: number) => {
    // A position that a zip makes up can be past what stands there.
    const liesThere = start >= 0 && start <= end && end <= zip.length;
    if (!liesThere) throw refuseZip({ reason: 'truncated' });
    return zip.subarray(start, end);
  };
  return {
    bytes: zip.length,
    read: async (position, length) => slice(position, position + length),
    async *readRange(start, end) {
      if (end > start) yield slice(start, end);
    },
    close: async () => undefined,
  };
}
