import { inflateSync } from 'node:zlib';
import { AppError } from '@inference-server/errors';

export interface Image {
  width: number;
  height: number;
  channels: string[];
  /** The greatest that a sample can be. */
  highest: 255 | 65_535;
  /** Line by line, pixel by pixel, channel by channel. */
  samples: Uint8Array | Uint16Array;
}

const maxSamples = 100_000_000;
const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
const kinds: Record<number, string[]> = {
  0: ['grey'],
  2: ['red', 'green', 'blue'],
  3: ['index'],
  4: ['grey', 'alpha'],
  6: ['red', 'green', 'blue', 'alpha'],
};

/** Reads a PNG with 8 or 16 bits a sample and lines in their order, as nearly all are. */
export function readPng(bytes: Buffer): Image {
  if (!bytes.subarray(0, 8).equals(signature)) throw notRead('it is no PNG');
  const chunks = chunksOf(bytes);
  const header = chunks.get('IHDR')?.[0];
  if (header?.length !== 13) throw notRead('it has no header');
  const width = header.readUInt32BE(0);
  const height = header.readUInt32BE(4);
  const [depth = 0, kind = 0, , , interlace] = header.subarray(8);
  const stored = kinds[kind];
  if (stored === undefined || (depth !== 8 && depth !== 16) || interlace !== 0) {
    throw notRead('only 8 and 16 bits and no interlacing can be read');
  }
  const samples = width * height * stored.length;
  if (samples === 0 || samples > maxSamples) throw notRead('it is empty, or too large');
  const pixel = stored.length * (depth / 8);
  const lines = unfilter(inflated(chunks.get('IDAT') ?? [], height * (1 + width * pixel)), {
    line: width * pixel,
    pixel,
  });
  const size = { width, height };
  if (kind === 3) return { ...size, ...coloured(lines, chunks.get('PLTE')?.[0]) };
  return depth === 8
    ? { ...size, channels: stored, highest: 255, samples: lines }
    : { ...size, channels: stored, highest: 65_535, samples: wide(lines) };
}

/** The contents of chunks by type. Their checksums are left alone: the pixels have one of their own. */
function chunksOf(bytes: Buffer): Map<string, Buffer[]> {
  const chunks = new Map<string, Buffer[]>();
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    if (at + 12 + length > bytes.length) throw notRead('it is cut short');
    const parts = chunks.get(type) ?? [];
    parts.push(bytes.subarray(at + 8, at + 8 + length));
    chunks.set(type, parts);
    if (type === 'IEND') return chunks;
    at += 12 + length;
  }
  throw notRead('it is cut short');
}

function inflated(parts: Buffer[], length: number): Buffer {
  try {
    const lines = inflateSync(Buffer.concat(parts), { maxOutputLength: length });
    if (lines.length === length) return lines;
  } catch (cause) {
    throw notRead('its pixels are damaged', cause);
  }
  throw notRead('it is cut short');
}

/** Each line begins with how its bytes were told by those to the left and above. */
function unfilter(bytes: Buffer, { line, pixel }: { line: number; pixel: number }): Buffer {
  const out = Buffer.alloc((bytes.length / (line + 1)) * line);
  for (let from = 0, to = 0; from < bytes.length; from += line + 1, to += line) {
    const filter = bytes[from] ?? 0;
    if (filter > 4) throw notRead('its pixels are damaged');
    for (let index = 0; index < line; index += 1) {
      const left = index < pixel ? 0 : (out[to + index - pixel] ?? 0);
      const above = to === 0 ? 0 : (out[to + index - line] ?? 0);
      const corner = to === 0 || index < pixel ? 0 : (out[to + index - line - pixel] ?? 0);
      const told = [0, left, above, (left + above) >> 1, nearest(left, above, corner)][filter] ?? 0;
      out[to + index] = (bytes[from + 1 + index] ?? 0) + told;
    }
  }
  return out;
}

/** Paeth's predictor. */
function nearest(left: number, above: number, corner: number): number {
  const guess = left + above - corner;
  const toLeft = Math.abs(guess - left);
  const toAbove = Math.abs(guess - above);
  const toCorner = Math.abs(guess - corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

function coloured(
  indexes: Buffer,
  palette: Buffer | undefined,
): Pick<Image, 'channels' | 'highest' | 'samples'> {
  if (palette === undefined) throw notRead('it has no palette');
  const samples = new Uint8Array(3 * indexes.length);
  indexes.forEach((index, at) => {
    if (3 * index + 3 > palette.length) throw notRead('it has a colour that is not in its palette');
    samples.set(palette.subarray(3 * index, 3 * index + 3), 3 * at);
  });
  return { channels: ['red', 'green', 'blue'], highest: 255, samples };
}

function wide(bytes: Buffer): Uint16Array {
  return Uint16Array.from({ length: bytes.length / 2 }, (_, index) =>
    bytes.readUInt16BE(2 * index),
  );
}

function notRead(why: string, cause?: unknown): AppError {
  return new AppError('VALIDATION_FAILED', `The image cannot be read: ${why}.`, { cause });
}
