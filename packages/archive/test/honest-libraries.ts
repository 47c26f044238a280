import { createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import AdmZip from 'adm-zip';
import { downloadZip, makeZip } from 'client-zip';
import { strToU8, Zip, ZipDeflate, ZipPassThrough, zipSync } from 'fflate';
import JSZip from 'jszip';
import {
  Uint8ArrayReader,
  Uint8ArrayWriter,
  ZipWriter,
  type ZipWriterConstructorOptions,
} from '@zip.js/zip.js';
import { filledTree, wholeTree, type HonestMaker } from './honest-zip.js';

const files = Object.entries(wholeTree.files);

/** A library that gives bytes. */
function library(
  what: string,
  write: () => Promise<Uint8Array> | Uint8Array,
  gives = filledTree,
): HonestMaker {
  return { what, make: async ({ zip }) => writeFile(zip, await write()), gives };
}

function jsZip(): JSZip {
  const zip = new JSZip();
  zip.folder('sub/empty');
  for (const [path, content] of files) zip.file(path, content);
  return zip;
}

const jsZips: readonly HonestMaker[] = [
  library('JSZip', () => jsZip().generateAsync({ type: 'uint8array' }), wholeTree),
  library(
    'JSZip: deflated, as Unix',
    () => jsZip().generateAsync({ type: 'uint8array', compression: 'DEFLATE', platform: 'UNIX' }),
    wholeTree,
  ),
  library(
    'JSZip: streamed',
    () => jsZip().generateAsync({ type: 'uint8array', compression: 'DEFLATE', streamFiles: true }),
    wholeTree,
  ),
  {
    what: 'JSZip: streamed and stored, to a stream',
    make: ({ zip: path }) =>
      pipeline(jsZip().generateNodeStream({ streamFiles: true }), createWriteStream(path)),
  },
  library('JSZip: no entries for folders', () => {
    const zip = new JSZip();
    for (const [path, content] of files) zip.file(path, content, { createFolders: false });
    return zip.generateAsync({ type: 'uint8array', compression: 'DEFLATE' });
  }),
];

function fflate(pack: (name: string) => ZipDeflate | ZipPassThrough): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    const zip = new Zip((error, chunk, isLast) => {
      if (error !== null) reject(error);
      chunks.push(chunk);
      if (isLast) resolve(Buffer.concat(chunks));
    });
    for (const [path, content] of files) {
      const file = pack(path);
      zip.add(file);
      file.push(content.subarray(0, 1000), false);
      file.push(content.subarray(1000), true);
    }
    zip.end();
  });
}

const fflates: readonly HonestMaker[] = [
  library('fflate', () => zipSync(Object.fromEntries(files))),
  library('fflate: stored', () => zipSync(Object.fromEntries(files), { level: 0 })),
  library(
    'fflate: nested, with an empty folder, a comment, Unix modes',
    () =>
      zipSync({
        'a.txt': [strToU8('one'), { os: 3, attrs: 0o100644 << 16, comment: 'of the file' }],
        sub: { empty: {}, 'b.txt': strToU8('two') },
      }),
    {
      files: { 'a.txt': Buffer.from('one'), 'sub/b.txt': Buffer.from('two') },
      folders: ['sub', 'sub/empty'],
    },
  ),
  library('fflate: streamed', () => fflate((name) => new ZipDeflate(name, { level: 6 }))),
  library('fflate: streamed and stored', () => fflate((name) => new ZipPassThrough(name))),
];

async function zipJs(options: ZipWriterConstructorOptions): Promise<Uint8Array> {
  const zip = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false, ...options });
  for (const path of wholeTree.folders) await zip.add(path, undefined, { directory: true });
  for (const [path, content] of files) await zip.add(path, new Uint8ArrayReader(content));
  return zip.close();
}

const zipJss: readonly HonestMaker[] = [
  library('zip.js', () => zipJs({}), wholeTree),
  library('zip.js: stored', () => zipJs({ level: 0 }), wholeTree),
  library('zip.js: sizes in the headers', () => zipJs({ dataDescriptor: false }), wholeTree),
  library(
    'zip.js: descriptors without a signature',
    () => zipJs({ dataDescriptorSignature: false }),
    wholeTree,
  ),
  library('zip.js: with a signature', () => zipJs({ dataDescriptorSignature: true }), wholeTree),
  library('zip.js: ZIP64', () => zipJs({ zip64: true }), wholeTree),
  library(
    'zip.js: ZIP64 with sizes in the headers',
    () => zipJs({ zip64: true, dataDescriptor: false }),
    wholeTree,
  ),
  library(
    'zip.js: as DOS, plain times',
    () => zipJs({ msDosCompatible: true, extendedTimestamp: false }),
    wholeTree,
  ),
];

function* clientFiles() {
  yield { name: 'sub/empty/' };
  for (const [name, input] of files)
    yield { name, input: new Uint8Array(input), lastModified: new Date() };
}

const clientZips: readonly HonestMaker[] = [
  library(
    'client-zip',
    async () => new Uint8Array(await downloadZip(clientFiles()).arrayBuffer()),
    wholeTree,
  ),
  {
    what: 'client-zip: streamed',
    make: ({ zip }) =>
      pipeline(Readable.fromWeb(makeZip(clientFiles()) as never), createWriteStream(zip)),
  },
];

const admZips: readonly HonestMaker[] = [
  {
    what: 'adm-zip: a folder',
    make: ({ tree, zip: path }) => {
      const zip = new AdmZip();
      zip.addLocalFolder(tree);
      return zip.writeZipPromise(path);
    },
  },
  library('adm-zip: files', () => {
    const zip = new AdmZip();
    for (const [path, content] of files) zip.addFile(path, content);
    return zip.toBuffer();
  }),
];

/** Libraries that web pages and servers in JavaScript make zips with. */
export const honestLibraries: readonly HonestMaker[] = [
  ...jsZips,
  ...fflates,
  ...zipJss,
  ...clientZips,
  ...admZips,
];
