/**
 * The checksum of a PNG's chunks. (Node's own came with 20.15 and 22.2.)
 *
 * @param {Uint8Array} bytes
 * @returns {number}
 */
export function crc32Of(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
