import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { tarEnd, tarHeader, tarToZip } from '@inference-server/archive';

/** Writes a zip of files of 1 KiB each, in folders of 500, as a run that leaves slices does. */
export async function writeManyFilesZip(
  path: string,
  { files, signal }: { files: number; signal: AbortSignal },
): Promise<void> {
  const content = Buffer.from('a line of a report\n'.repeat(54).slice(0, 1024));
  function* tar() {
    const modified = new Date(0);
    yield tarHeader({ name: 'output/', mode: 0o755, bytes: 0, modified });
    for (let index = 0; index < files; index += 1) {
      const folder = `output/series-${Math.floor(index / 500)}/`;
      if (index % 500 === 0) yield tarHeader({ name: folder, mode: 0o755, bytes: 0, modified });
      const name = `${folder}slice-${index}.txt`;
      yield tarHeader({ name, mode: 0o644, bytes: content.length, modified });
      yield content;
    }
    yield tarEnd;
  }
  const zip = tarToZip(Readable.from(tar(), { objectMode: false }), {
    signal,
    maxBytes: Infinity,
    maxEntries: Infinity,
    onLeftOut: (line) => {
      throw new Error(line);
    },
    openHardLink: (target) => Promise.reject(new Error(target)),
  });
  await pipeline(zip, createWriteStream(path), { signal });
}
