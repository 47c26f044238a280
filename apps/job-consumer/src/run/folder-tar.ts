import { Readable } from 'node:stream';

/** A tar of one folder, with nothing in it: gives a folder that exists another mode. */
export function folderTar(name: string, mode: number): Readable {
  const header = Buffer.alloc(512);
  header.write(`${name}/`, 0, 100);
  header.write(octal(mode, 8), 100);
  for (const owner of [108, 116]) header.write(octal(0, 8), owner);
  for (const sizeAndTime of [124, 136]) header.write(octal(0, 12), sizeAndTime);
  header.write('5', 156);
  header.write('ustar\x0000', 257);
  // The sum is taken with its own field full of blanks.
  header.write(' '.repeat(8), 148);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${octal(sum, 7)} `, 148);
  const end = Buffer.alloc(1024);
  return Readable.from([Buffer.concat([header, end])], { objectMode: false });
}

/** Zero-padded, with the closing NUL counted in the width. */
function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`;
}
