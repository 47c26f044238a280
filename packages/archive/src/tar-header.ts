/** One entry of a tar to be written. */
export interface NewTarEntry {
  /** Relative; a folder's ends with a slash. */
  name: string;
  mode: number;
  bytes: number;
  modified: Date;
}

/**
 * The header blocks of an entry owned by root: a ustar header and, before it, a pax header for what
 * does not fit (names that are long or not ASCII, sizes of 8 GiB and more).
 */
export function tarHeader(entry: NewTarEntry): Buffer {
  const records: string[] = [];
  let { name } = entry;
  if (Buffer.byteLength(name) > nameBytes || !/^[\x20-\x7e]*$/.test(name)) {
    records.push(paxRecord('path', name));
    // What a reader without pax would call it; the slash keeps it a folder there too.
    name = name.endsWith('/') ? 'long-name/' : 'long-name';
  }
  let { bytes } = entry;
  if (bytes > maxOctalBytes) {
    records.push(paxRecord('size', String(bytes)));
    bytes = 0;
  }
  const header = ustarBlock({ ...entry, name, bytes }, name.endsWith('/') ? '5' : '0');
  if (records.length === 0) return header;
  const pax = Buffer.from(records.join(''));
  const paxEntry = { name: 'pax-header', mode: 0o644, bytes: pax.length, modified: entry.modified };
  return Buffer.concat([ustarBlock(paxEntry, 'x'), pax, tarPadding(pax.length), header]);
}

/** What fills the last block of `bytes` of content. */
export function tarPadding(bytes: number): Buffer {
  return Buffer.alloc(-bytes & (blockBytes - 1));
}

export const blockBytes = 512;
/** Two empty blocks end a tar. */
export const tarEnd = Buffer.alloc(2 * blockBytes);

const nameBytes = 100;
/** Eleven octal digits. */
const maxOctalBytes = 8 ** 11 - 1;

function ustarBlock({ name, mode, bytes, modified }: NewTarEntry, type: string): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, digits: number, at: number) =>
    block.write(value.toString(8).padStart(digits, '0'), at, 'latin1');
  block.write(name, 0, nameBytes, 'latin1');
  octal(mode, 7, 100);
  octal(0, 7, 108);
  octal(0, 7, 116);
  octal(bytes, 11, 124);
  octal(unixSeconds(modified), 11, 136);
  block.write(type, 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  // The checksum is taken with blanks in its own place.
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  octal(sum, 6, 148);
  block[154] = 0;
  return block;
}

/** A record states its own length in bytes, the digits of that length included. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const restBytes = Buffer.byteLength(rest);
  let length = restBytes;
  while (length !== restBytes + String(length).length) length = restBytes + String(length).length;
  return `${length}${rest}`;
}

/** A time that a zip made up may lie anywhere, or nowhere. */
function unixSeconds(date: Date): number {
  const seconds = Math.floor(date.getTime() / 1000);
  return Number.isNaN(seconds) ? 0 : Math.min(Math.max(seconds, 0), maxOctalBytes);
}
