import { crc32 } from 'node:zlib';
import { getFileNameLowLevel, type Entry } from 'yauzl';
import type { ZipRefusal } from './zip-refused.js';

/**
 * The name of an entry as text. UTF-8 where the zip says so, in the flag or in Info-ZIP's extra
 * field, and where a Unix or macOS program wrote bytes that are UTF-8 without saying so; the old
 * code page 437 otherwise. Expects an entry whose strings were left as bytes.
 */
export function decodeName(entry: Entry): { name: string } | { refused: ZipRefusal } {
  const { fileNameRaw: raw } = entry;
  // Before decoding: code page 437 has pictures in the place of control characters.
  if (raw.some((byte) => byte < 0x20 || byte === 0x7f)) return { refused: 'control_character' };
  const stated = statedUtf8(entry);
  if (stated !== undefined) {
    const name = utf8(stated);
    return name === undefined ? { refused: 'invalid_utf8' } : { name };
  }
  const guessed = unixHosts.has(entry.versionMadeBy >> 8) ? utf8(raw) : undefined;
  return { name: guessed ?? getFileNameLowLevel(0, raw, [], true) };
}

/** The bytes that the zip declares to be UTF-8. */
function statedUtf8(entry: Entry): Buffer | undefined {
  const { fileNameRaw: raw } = entry;
  for (const { id, data } of entry.extraFields) {
    // Version 1, then the CRC of the name that this one replaces: another program that renamed the
    // entry without knowing the field leaves a CRC that does not fit.
    if (id !== unicodePathField || data.length < 6 || data[0] !== 1) continue;
    if (data.readUInt32LE(1) === crc32(raw)) return data.subarray(5);
  }
  return (entry.generalPurposeBitFlag & utf8Flag) === 0 ? undefined : raw;
}

function utf8(bytes: Buffer): string | undefined {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return undefined;
  }
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const utf8Flag = 0x800;
const unicodePathField = 0x7075;
/** Unix and macOS, in the upper byte of "version made by". */
const unixHosts = new Set([3, 19]);
