import { crc32, deflateRawSync } from 'node:zlib';
import type { Tree } from './honest-zip.js';
import { descriptor, extraField, flag, zip64Field, type RawEntry } from './zip-builder.js';

const fat = 20;
const unix = 3 << 8;
const full = 0xffffffff;
const isAscii = (name: string) => /^\p{ASCII}*$/u.test(name);

/**
 * Windows Explorer, "Send to: Compressed folder": made by FAT 2.0, sizes in the local headers, no extra
 * fields, the DOS attribute for archiving (0x20); what does not shrink is stored and then asks for
 * version 1.0 only; an entry for a folder (0x10) only when nothing is in it. Names are in the code page
 * of the machine without a flag, or in UTF-8 with the flag when that page lacks a letter.
 */
export function explorer(
  name: string,
  content: Buffer,
  flags = isAscii(name) ? 0 : flag.utf8,
): RawEntry {
  const shrinks = deflateRawSync(content).length < content.length;
  const method = shrinks ? 8 : 0;
  return {
    name,
    content,
    method,
    flags,
    madeBy: fat,
    version: shrinks ? 20 : 10,
    attributes: 0x20,
  };
}

export const explorerFolder = (name: string): RawEntry => ({
  name,
  flags: 0,
  madeBy: fat,
  version: 20,
  attributes: 0x10,
});

/**
 * .NET's ZipFile.CreateFromDirectory, which PowerShell's Compress-Archive builds on: made by FAT 2.0 on
 * Windows; always deflated but for what is empty; the UTF-8 flag only where a name is not ASCII;
 * attributes 0; bits 1 and 2 of the flags tell how much effort was made since .NET 8; an entry for a
 * folder only when nothing is in it. On a stream without positions: sizes of 0 in the local header and a
 * descriptor with its signature.
 */
export function dotNet(name: string, content: Buffer, effort = 0): RawEntry {
  const method = content.length > 0 ? 8 : 0;
  const flags = (isAscii(name) ? 0 : flag.utf8) | effort;
  return { name, content, method, flags, madeBy: fat, version: 20 };
}

/** Sizes and checksum of 0 in the local header, behind the content a descriptor with its signature. */
export function streamed(entry: RawEntry): RawEntry {
  const content = Buffer.from((entry.content ?? '') as string);
  const packed = entry.packed ?? (entry.method === 8 ? deflateRawSync(content) : content);
  const flags = (entry.flags ?? 0) | flag.descriptor;
  const { name, version, method } = entry;
  return {
    ...entry,
    packed,
    flags,
    local: {
      ...{
        name,
        version: version ?? 20,
        flags,
        method: method ?? 0,
        crc: 0,
        bytes: 0,
        packedBytes: 0,
      },
      ...(entry.local?.extra === undefined ? {} : { extra: entry.local.extra }),
    },
    descriptor: descriptor(content, { packed: packed.length }),
  };
}

/**
 * The Archive Utility of macOS ("Compress"): made by Unix 2.1 (0x0315), needs 2.0; files deflated with a
 * descriptor that has its signature, folders stored and asking for 1.0; names in UTF-8, decomposed as
 * the file system keeps them, without the flag; the lower attributes 0x4000. Extra field UX (0x5855):
 * two times and in the local header user and group as well. Newer ones write UT and ux (0x7875) in both.
 * Beside the files `.DS_Store` and, under `__MACOSX`, what macOS keeps with a file, named `._` and so on.
 */
function mac(fields: { local: Buffer; central: Buffer }) {
  const common = { flags: 0, madeBy: unix | 21, extra: fields.central, attributes: 0x4000 };
  return {
    file: (name: string, content: Buffer): RawEntry =>
      streamed({
        name,
        content,
        method: 8,
        mode: 0o100644,
        version: 20,
        ...common,
        local: { extra: fields.local },
      }),
    folder: (name: string): RawEntry => ({
      ...{ name, mode: 0o040755, version: 10, ...common },
      local: { extra: fields.local },
    }),
  };
}

const times = Buffer.alloc(8, 0x66);
const owner = Buffer.from([0xf5, 0x01, 0x14, 0x00]);
export const oldMac = mac({
  local: extraField(0x5855, Buffer.concat([times, owner])),
  central: extraField(0x5855, times),
});
const newOwner = extraField(0x7875, Buffer.from([1, 4, 0xf5, 1, 0, 0, 4, 0x14, 0, 0, 0]));
const newFields = Buffer.concat([
  extraField(0x5455, Buffer.concat([Buffer.from([7]), times, times.subarray(4)])),
  newOwner,
]);
export const newMac = mac({ local: newFields, central: newFields });

export const text = Buffer.from('content of a file that packs, of a file that packs');
const appleDouble = Buffer.concat([
  Buffer.from('\0\x05\x16\x07\0\x02\0\0Mac OS X        ', 'latin1'),
  Buffer.alloc(130),
]);
const decomposed = 'Bu\u0308cher/Ma\u0308rz.txt';

export function finder({ file, folder }: typeof oldMac): RawEntry[] {
  return [
    folder('Bu\u0308cher/'),
    file('Bu\u0308cher/.DS_Store', Buffer.alloc(6148, 'Bud1')),
    folder('__MACOSX/'),
    folder('__MACOSX/Bu\u0308cher/'),
    file('__MACOSX/Bu\u0308cher/._.DS_Store', appleDouble),
    file(decomposed, text),
    file('__MACOSX/Bu\u0308cher/._Ma\u0308rz.txt', appleDouble),
    file('Bu\u0308cher/empty', Buffer.alloc(0)),
  ];
}

export const finderTree: Tree = {
  files: {
    'Bu\u0308cher/.DS_Store': Buffer.alloc(6148, 'Bud1'),
    '__MACOSX/Bu\u0308cher/._.DS_Store': appleDouble,
    [decomposed]: text,
    '__MACOSX/Bu\u0308cher/._Ma\u0308rz.txt': appleDouble,
    'Bu\u0308cher/empty': Buffer.alloc(0),
  },
  folders: ['Bu\u0308cher', '__MACOSX', '__MACOSX/Bu\u0308cher'],
};

/**
 * Info-ZIP: made by Unix 3.0, the mode, UT (times; in the local header two of them) and ux (user and
 * group) in both headers; names as the file system has them, without the flag where the locale is plain;
 * asks for 1.0 when stored.
 */
export function infoZip(name: string, content: Buffer): RawEntry {
  const extra = Buffer.concat([
    extraField(0x5455, Buffer.from([3, ...times.subarray(4)])),
    newOwner,
  ]);
  const isFolder = name.endsWith('/');
  const shrinks = deflateRawSync(content).length < content.length;
  return {
    ...{ name, content, extra, flags: 0, madeBy: unix | 30, mode: isFolder ? 0o040755 : 0o100644 },
    ...{ method: shrinks ? 8 : 0, version: shrinks ? 20 : 10, attributes: isFolder ? 0x10 : 0 },
    local: { extra: Buffer.concat([extraField(0x5455, Buffer.from([3, ...times])), newOwner]) },
  };
}

/** Info-ZIP with -fz: full sizes in the local header, in the directory only the unpacked one. */
export function forcedZip64(name: string, content: Buffer): RawEntry {
  const entry = infoZip(name, content);
  const packed = entry.method === 8 ? deflateRawSync(content) : content;
  const extra = (given: Buffer | undefined, ...sizes: number[]) =>
    Buffer.concat([given ?? Buffer.alloc(0), zip64Field(...sizes)]);
  return {
    ...{
      ...entry,
      packed,
      version: 45,
      bytes: full,
      crc: crc32(content),
      packedBytes: packed.length,
    },
    extra: extra(entry.extra, content.length),
    local: {
      ...{ bytes: full, packedBytes: full },
      extra: extra(entry.local?.extra, content.length, packed.length),
    },
  };
}

/**
 * Go's archive/zip: each file with a descriptor, whether deflated or stored, folders without; made by
 * "FAT" 2.0 unless a mode was set, then Unix; UTF-8 flag where a name is not plain ASCII; UT in both
 * headers; nothing at all deflates to five bytes.
 */
export function go(name: string, content: Buffer, method = 8): RawEntry {
  const extra = extraField(0x5455, Buffer.from([1, 0x30, 0x20, 0x10, 0x65]));
  const common = {
    name,
    flags: isAscii(name) ? 0 : flag.utf8,
    madeBy: unix | 20,
    extra,
    local: { extra },
  };
  if (name.endsWith('/')) return { ...common, mode: 0o040755, attributes: 0x10 };
  const isEmpty = method === 8 && content.length === 0;
  return streamed({
    ...{ ...common, content, method, mode: 0o100644 },
    ...(isEmpty ? { packed: Buffer.from([1, 0, 0, 0xff, 0xff]) } : {}),
  });
}

/**
 * Rust's zip: made by Unix 4.6, sizes written back into the local header, the flag where a name is not
 * ASCII. A file that was announced as large has 64-bit sizes in the local header, however small it is,
 * and 32-bit ones in the directory.
 */
export function rust(name: string, content: Buffer, isLarge = false): RawEntry {
  const packed = deflateRawSync(content);
  const entry: RawEntry = {
    ...{ name, content, packed, method: 8, flags: isAscii(name) ? 0 : flag.utf8 },
    ...{ madeBy: unix | 46, mode: 0o100644, version: isLarge ? 45 : 20 },
  };
  if (!isLarge) return entry;
  const extra = zip64Field(content.length, packed.length);
  return { ...entry, local: { bytes: full, packedBytes: full, extra } };
}

/**
 * Java's jar: the first entry is a folder that carries an extra field of no content (0xcafe) in both
 * headers; made by FAT 2.0 (1.0 for what is stored); all names flagged as UTF-8, files with a descriptor.
 */
export const jar: RawEntry[] = [
  {
    ...{ name: 'META-INF/', flags: flag.utf8, madeBy: 10, version: 10 },
    ...{
      extra: extraField(0xcafe, Buffer.alloc(0)),
      local: { extra: extraField(0xcafe, Buffer.alloc(0)) },
    },
  },
  streamed({
    name: 'META-INF/MANIFEST.MF',
    content: text,
    method: 8,
    flags: flag.utf8,
    madeBy: fat,
  }),
  // A folder that a program added without a word on how to store it: deflated, of two bytes.
  streamed({ name: 'sub/', method: 8, flags: flag.utf8, madeBy: fat }),
];

export const jarTree: Tree = {
  files: { 'META-INF/MANIFEST.MF': text },
  folders: ['META-INF', 'sub'],
};

/** Sizes unknown to the end and announced as 64-bit: zeros or all ones in the local header. */
export function longStreamed(name: string, placeholder: number): RawEntry {
  return {
    ...{ name, content: text, flags: flag.utf8 | flag.descriptor, version: 45, madeBy: unix | 45 },
    local: {
      crc: 0,
      bytes: full,
      packedBytes: full,
      extra: zip64Field(placeholder, placeholder),
      version: 45,
    },
    descriptor: descriptor(text, { long: true }),
    ...{ bytes: full, packedBytes: full, extra: zip64Field(text.length, text.length) },
    crc: crc32(text),
  };
}
