import { latin1 } from './hostile-zip.js';
import { buildZip, unicodeName } from './zip-builder.js';

/**
 * Names as long and in as many readings as the rules allow: some 8 KB of memory each. 45,000 of them are
 * more than a thread of the gate has.
 */
export function longNames(entries: number): Buffer {
  const part = '\xb0'.repeat(254);
  const unicodePart = '日'.repeat(80);
  return buildZip(
    Array.from({ length: entries }, (_, index) => {
      const end = `${String(index).padStart(6, '0')};1`;
      const raw = latin1(`${part}/${part}/${part}/\xff${'\xb0'.repeat(230)}${end}`);
      const name = `${unicodePart}/${unicodePart}/${unicodePart}/${'日'.repeat(70)}${end}`;
      return { name: raw, flags: 0, madeBy: 20, extra: unicodeName(raw, Buffer.from(name)) };
    }),
  );
}
