/** What is wrong with the inputs, in words for whoever sent them. */
export class InputError extends Error {}

export interface Histogram {
  counts: number[];
  /** One more than the counts. */
  edges: number[];
}

/** A list of numbers, or bytes with numbers of 64 bits (little-endian doubles). */
export function samplesIn(samples: unknown, readFile: (path: string) => Buffer): number[] {
  const { file } = (samples ?? {}) as { file?: unknown };
  if (typeof file === 'string') return doublesIn(readFile(file));
  const isList = Array.isArray(samples) && samples.every((sample) => typeof sample === 'number');
  if (!isList) throw new InputError('samples must be a list of numbers, or bytes with doubles.');
  return samples;
}

/** Bins of one width between the least and the greatest sample, which is in the last one. */
export function histogramOf(samples: readonly number[], bins: unknown): Histogram {
  if (typeof bins !== 'number' || !Number.isInteger(bins) || bins < 1 || bins > 1_000) {
    throw new InputError('bins must be a whole number from 1 to 1000.');
  }
  if (samples.length === 0) throw new InputError('samples has no numbers.');
  let [least, greatest] = [Infinity, -Infinity];
  for (const sample of samples) {
    least = Math.min(least, sample);
    greatest = Math.max(greatest, sample);
  }
  if (!Number.isFinite(greatest - least)) throw new InputError('samples has no finite range.');
  const width = (greatest - least) / bins || 1;
  const counts = new Array<number>(bins).fill(0);
  for (const sample of samples) {
    const bin = Math.min(Math.floor((sample - least) / width), bins - 1);
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return { counts, edges: Array.from({ length: bins + 1 }, (_, n) => least + n * width) };
}

const pictureHeight = 64;

/** White bars on black, as a PGM: a head in letters, then a byte for each pixel. */
export function pictureOf(counts: readonly number[]): Buffer {
  const most = counts.reduce((high, count) => Math.max(high, count), 1);
  const pixels = Buffer.alloc(counts.length * pictureHeight);
  counts.forEach((count, column) => {
    const height = Math.round((count / most) * pictureHeight);
    for (let row = pictureHeight - height; row < pictureHeight; row += 1) {
      pixels[row * counts.length + column] = 255;
    }
  });
  return Buffer.concat([Buffer.from(`P5\n${counts.length} ${pictureHeight}\n255\n`), pixels]);
}

function doublesIn(bytes: Buffer): number[] {
  if (bytes.length % 8 !== 0) throw new InputError('samples has part of a double at its end.');
  return Array.from({ length: bytes.length / 8 }, (_, n) => bytes.readDoubleLE(8 * n));
}
