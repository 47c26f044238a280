import { tarHeader, tarPadding } from '../src/tar-header.js';
import { fixChecksum } from './fix-checksum.js';

/** A header of the given type, with its content, that says something of the entry behind it. */
export function tarExtension(type: string, content: string): Buffer {
  const bytes = Buffer.from(content);
  const header = tarHeader({ name: 'x', mode: 0, bytes: bytes.length, modified: new Date(0) });
  header.write(type, 156);
  fixChecksum(header);
  return Buffer.concat([header, bytes, tarPadding(bytes.length)]);
}
