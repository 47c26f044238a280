import { Readable } from 'node:stream';

export interface TarEntry {
  name: string;
  mode?: number;
  uid?: number;
  content?: string | Buffer;
}

/** A tar of a few small entries; a name that ends in `/` is a folder. */
export function tarOf(entries: readonly TarEntry[]): Readable {
  const blocks = entries.flatMap(({ name, mode, uid = 0, content = '' }) => {
    const body = Buffer.from(content);
    const folder = name.endsWith('/');
    const padding = Buffer.alloc((512 - (body.length % 512)) % 512);
    return [
      header(name, mode ?? (folder ? 0o755 : 0o644), uid, body.length, folder),
      body,
      padding,
    ];
  });
  return Readable.from([Buffer.concat([...blocks, Buffer.alloc(1024)])]);
}

/** The names in a tar, and the contents of its files. */
export async function readTar(tar: Readable): Promise<Map<string, Buffer>> {
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  const all = Buffer.concat(chunks);
  const found = new Map<string, Buffer>();
  for (let at = 0; at + 512 <= all.length;) {
    const name = all.toString('utf8', at, at + 100).replace(/\0.*$/s, '');
    const size = parseInt(all.toString('latin1', at + 124, at + 135), 8);
    if (name === '') break;
    found.set(name, all.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return found;
}

export function header(
  name: string,
  mode: number,
  uid: number,
  size: number,
  folder: boolean,
): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, width: number) => value.toString(8).padStart(width - 1, '0') + '\0';
  block.write(name, 0);
  block.write(octal(mode, 8), 100);
  block.write(octal(uid, 8), 108);
  block.write(octal(uid, 8), 116);
  block.write(octal(size, 12), 124);
  block.write(octal(0, 12), 136);
  block.write(' '.repeat(8), 148);
  block.write(folder ? '5' : '0', 156);
  block.write('ustar\0' + '00', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(sum.toString(8).padStart(6, '0') + '\0 ', 148);
  return block;
}
