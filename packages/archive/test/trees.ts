import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { extract, pack, type Header } from 'tar-stream';
import { defaultZipLimits, tarToZip, zipToTar, type TarToZipOptions } from '../src/index.js';

/** What a tar says of one entry. */
export interface Found {
  name: string;
  type: string;
  mode: string;
  content: string;
  seconds: number;
  owner: number;
}

/** Reads a whole tar with a reader that is not ours. */
export async function listTar(tar: Readable): Promise<Found[]> {
  const found: Found[] = [];
  const entries = extract();
  const reading = (async () => {
    for await (const entry of entries) {
      const { name, type, mode, mtime, uid, gid } = entry.header;
      const content = (await buffer(entry)).toString('latin1');
      const seconds = mtime.getTime() / 1000;
      found.push({ name, type, mode: mode.toString(8), content, seconds, owner: uid + gid });
    }
  })();
  const bytes = await buffer(tar);
  entries.end(bytes);
  await reading;
  return found;
}

export type TarPart = Partial<Header> & { name: string; content?: Buffer | string };

export const directory = (name: string): TarPart => ({ name, type: 'directory' });

export const special = (name: string, type: NonNullable<TarPart['type']>): TarPart => ({
  name,
  type,
  linkname: '/etc/passwd',
});

export const hardLink = (name: string, linkname: string): TarPart => ({
  name,
  type: 'link',
  linkname,
});

/** A tar as an engine gives it of the folder /output. */
export async function outputTar(parts: readonly TarPart[]): Promise<Buffer> {
  return tarOf([directory('output/'), ...parts]);
}

/** Made by a writer that is not ours. */
export async function tarOf(parts: readonly TarPart[]): Promise<Buffer> {
  const tar = pack();
  const bytes = buffer(tar);
  for (const { content, ...header } of parts) {
    const sink = tar.entry(header, content ?? '');
    if (content === undefined) sink.end(Buffer.alloc(0));
    else await Promise.race([once(sink as never, 'finish'), once(sink as never, 'close')]);
  }
  tar.finalize();
  return bytes;
}

/** Cuts a buffer into chunks as a socket might. */
export function streamOf(bytes: Buffer, chunkBytes = 1000): Readable {
  return Readable.from(
    (function* () {
      for (let at = 0; at < bytes.length; at += chunkBytes) {
        yield bytes.subarray(at, at + chunkBytes);
      }
    })(),
    { objectMode: false },
  );
}

/** {@link tarToZip} with generous limits; collects the lines about what was left out. */
export function zipOf(
  tar: Readable,
  options: Partial<TarToZipOptions> = {},
): { zip: Readable; leftOut: string[] } {
  const leftOut: string[] = [];
  const zip = tarToZip(tar, {
    signal: new AbortController().signal,
    maxBytes: 2 ** 30,
    maxEntries: 1000,
    onLeftOut: (line) => leftOut.push(line),
    ...options,
  });
  return { zip, leftOut };
}

/** Reads a zip through {@link zipToTar}. */
export async function listZip(folder: string, zip: Buffer): Promise<Found[]> {
  const path = join(folder, 'listed.zip');
  await writeFile(path, zip);
  const { signal } = new AbortController();
  return listTar(zipToTar(path, { limits: defaultZipLimits, signal }));
}

export async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'no failure',
    (error: unknown) => error,
  );
}
