import type { Readable } from 'node:stream';
import { readableOf } from './readable-of.js';
import { tarEnd, tarHeader, tarPadding } from './tar-header.js';
import { readZipEntries } from './zip-entries.js';
import { openZipFile } from './zip-file.js';
import { noZipLimits, type ZipLimits } from './zip-limits.js';

/**
 * A zip as an uncompressed tar for a container engine. Everything belongs to root and everyone may
 * read it: folders 0755, files 0644, or 0755 when executable by anyone in the zip. Folders that the
 * zip only implies have entries too. Every rule of the gate is checked again on the way, and sizes
 * and checksums against the content: a breach destroys the stream with ZIP_REFUSED, and what was
 * read of it until then must be thrown away. Without `limits` it may hold as much as it likes: the
 * gate has bounded it. Read it to its end or destroy it. `below`: the folder of the tar that it is all in.
 */
export function zipToTar(
  path: string,
  {
    limits = noZipLimits,
    below,
    signal,
  }: { limits?: ZipLimits; below?: string | undefined; signal: AbortSignal },
): Readable {
  return readableOf(writeTar(path, { limits, below }, signal), signal);
}

async function* writeTar(
  path: string,
  { limits, below }: { limits: ZipLimits; below: string | undefined },
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const prefix = below === undefined ? '' : `${below}/`;
  const zip = await openZipFile(path);
  try {
    // An engine looks at the first bytes for the magic of a compressed stream: no name of the zip's
    // may stand there.
    yield tarHeader({ name: './', mode: folderMode, bytes: 0, modified: new Date(0) });
    if (prefix !== '') {
      yield tarHeader({ name: prefix, mode: folderMode, bytes: 0, modified: new Date(0) });
    }
    for await (const { newFolders, file, modified, content } of readZipEntries(
      zip,
      limits,
      signal,
    )) {
      for (const folder of newFolders) {
        yield tarHeader({ name: `${prefix}${folder}/`, mode: folderMode, bytes: 0, modified });
      }
      if (file === undefined) {
        // A folder may have packed bytes, of nothing: they are checked like any.
        yield* content();
        continue;
      }
      const mode = file.executable ? executableMode : fileMode;
      yield tarHeader({ name: `${prefix}${file.path}`, mode, bytes: file.bytes, modified });
      yield* content();
      const padding = tarPadding(file.bytes);
      if (padding.length > 0) yield padding;
    }
    yield tarEnd;
  } finally {
    await zip.close();
  }
}

const folderMode = 0o755;
const fileMode = 0o644;
const executableMode = 0o755;
