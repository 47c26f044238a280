/** A tar header with whatever its fields are told to hold, and what comes behind it. */
export interface RawEntry {
  name: Buffer;
  /** The type flag. */
  type: string;
  linkName: Buffer;
  prefix: Buffer;
  /** Octal digits, a base-256 number, or anything else that stands in the field. */
  size: Buffer;
  mode: Buffer;
  modified: Buffer;
  magic: 'ustar' | 'gnu' | 'none';
  checksum: 'right' | 'wrong';
  content: Buffer;
  /** Whether the content is filled up to whole blocks. */
  padded: boolean;
}

/** The bytes of a tar; `end` empty blocks behind it (two end a tar). */
export function rawTar(entries: readonly RawEntry[], end: number): Buffer {
  const blocks = entries.flatMap((entry) => [
    rawHeader(entry),
    entry.content,
    Buffer.alloc(entry.padded ? -entry.content.length & 511 : 0),
  ]);
  return Buffer.concat([...blocks, Buffer.alloc(512 * end)]);
}

export function octal(value: number, digits: number): Buffer {
  return Buffer.from(value.toString(8).padStart(digits, '0'));
}

/** GNU's form of a number that octal digits cannot hold. */
export function base256(value: bigint, bytes: number): Buffer {
  const field = Buffer.alloc(bytes, value < 0n ? 0xff : 0x80);
  for (let at = bytes - 1, left = value; at > 0; at -= 1, left >>= 8n) {
    field[at] = Number(BigInt.asUintN(8, left));
  }
  return field;
}

export function paxRecords(records: readonly (readonly [key: string, value: Buffer])[]): Buffer {
  return Buffer.concat(
    records.map(([key, value]) => {
      const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
      const digits = String(rest.length + String(rest.length + 3).length).length;
      return Buffer.concat([Buffer.from(String(rest.length + digits)), rest]);
    }),
  );
}

function rawHeader(entry: RawEntry): Buffer {
  const block = Buffer.alloc(512);
  const put = (field: Buffer, at: number, length: number) => field.copy(block, at, 0, length);
  put(entry.name, 0, 100);
  put(entry.mode, 100, 8);
  put(entry.size, 124, 12);
  put(entry.modified, 136, 12);
  block.write(entry.type, 156, 1, 'latin1');
  put(entry.linkName, 157, 100);
  block.write({ ustar: 'ustar\x0000', gnu: 'ustar  \0', none: '' }[entry.magic], 257, 'latin1');
  put(entry.prefix, 345, 155);
  block.fill(' ', 148, 156);
  let sum = entry.checksum === 'right' ? 0 : 1;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
