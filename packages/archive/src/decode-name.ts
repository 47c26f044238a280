import { crc32 } from 'node:zlib';
import { extraId, type ExtraFields } from './extra-fields.js';
import type { ZipRefusal } from './zip-refused.js';

/** What the name of an entry is made from. */
interface NameSource {
  rawName: Buffer;
  extra: ExtraFields;
  flags: number;
  madeBy: number;
}

/**
 * The name of an entry as text. UTF-8 where the zip says so, in the flag or in Info-ZIP's extra field
 * (APPNOTE 4.6.9), and where a Unix or macOS program wrote bytes that are UTF-8 without saying so; the
 * old code page 437 otherwise.
 */
export function decodeName(source: NameSource): { name: string } | { refused: ZipRefusal } {
  const { rawName, flags } = source;
  // Before decoding: code page 437 has pictures in the place of control characters.
  if (rawName.some((byte) => byte < 0x20 || byte === 0x7f)) return { refused: 'control_character' };
  const unicode = unicodePath(source);
  if (unicode !== undefined) {
    const name = utf8(unicode);
    if (name === undefined) return { refused: 'invalid_utf8' };
    return isHonest(rawName, name, (flags & utf8Flag) !== 0) ? { name } : { refused: 'two_names' };
  }
  if ((flags & utf8Flag) !== 0) {
    const name = utf8(rawName);
    return name === undefined ? { refused: 'invalid_utf8' } : { name };
  }
  const guessed = unixHosts.has(source.madeBy >> 8) ? utf8(rawName) : undefined;
  return { name: guessed ?? fromCodePage437(rawName) };
}

/** The name in the extra field, if it belongs to this entry. */
function unicodePath({ extra, rawName }: NameSource): Buffer | undefined {
  const field = extra.get(extraId.unicodePath);
  // Version 1, then the CRC of the name that this one replaces: another program that renamed the
  // entry without knowing the field leaves a CRC that does not fit.
  if (field === undefined || field.length < 6 || field[0] !== 1) return undefined;
  return field.readUInt32LE(1) === crc32(rawName) ? field.subarray(5) : undefined;
}

/**
 * Readers that do not know the field take the raw name. The field is for what the raw name cannot
 * spell: a second name is a trick when the first one is UTF-8 already, when the second is plain ASCII,
 * or when their folders differ in number.
 */
function isHonest(rawName: Buffer, name: string, rawIsUtf8: boolean): boolean {
  if (Buffer.from(name).equals(rawName)) return true;
  const isAscii = /^\p{ASCII}*$/u.test(name);
  return !rawIsUtf8 && !isAscii && depth(name) === depth(rawName.toString('latin1'));
}

function depth(path: string): number {
  return path.split('/').length;
}

function utf8(bytes: Buffer): string | undefined {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return undefined;
  }
}

function fromCodePage437(bytes: Buffer): string {
  let text = '';
  for (const byte of bytes) {
    text += byte < 0x80 ? String.fromCharCode(byte) : codePage437.charAt(byte - 0x80);
  }
  return text;
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const utf8Flag = 0x800;
/** Unix and macOS, in the upper byte of "version made by". */
const unixHosts = new Set([3, 19]);
/** Its upper half. */
const codePage437 =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐' +
  '└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0';
