import { readFileSync } from 'node:fs';
import { crc32Of } from './png-checksum.mjs';
import { deflateSync } from 'node:zlib';

/** What the model takes and gives, for its registration; it has no files. */
export const contract = readFileSync(new URL('contract.json', import.meta.url), 'utf8');

/**
 * A PNG with a red, a green and a blue ramp.
 * @returns {Buffer}
 */
export function sampleImage({ width = 64, height = 32 } = {}) {
  const lines = Buffer.alloc(height * (1 + 3 * width));
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const at = y * (1 + 3 * width) + 1 + 3 * x;
      lines.set([4 * x, 8 * y, 255 - 4 * x], at);
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8); // 8 bits, RGB
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  const chunks = [chunk('IHDR', header), chunk('IDAT', deflateSync(lines)), chunk('IEND')];
  return Buffer.concat([signature, ...chunks]);
}

/** The inputs of a call in plain JSON. */
export const inputs = { image: { base64: sampleImage().toString('base64') } };

function chunk(type, data = Buffer.alloc(0)) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const framed = Buffer.alloc(4 + body.length + 4);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32Of(body), 4 + body.length);
  return framed;
}
