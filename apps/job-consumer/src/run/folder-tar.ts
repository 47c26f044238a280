import { Readable } from 'node:stream';
import { tarEnd, tarHeader } from '@inference-server/archive';

/** A tar of one folder, with nothing in it: gives a folder that exists another mode. */
export function folderTar(name: string, mode: number): Readable {
  const header = tarHeader({ name: `${name}/`, mode, bytes: 0, modified: new Date(0) });
  return Readable.from([header, tarEnd], { objectMode: false });
}
