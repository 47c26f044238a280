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

/**
 * What other readers take for the name, which decode what is neither flagged nor ASCII as they see fit:
 * by the specification, as UTF-8 or ISO 8859-1, or without the extra field. Only letters that are not
 * ASCII differ in these, or stand where such letters are.
 */
export function otherReadings(source: NameSource): string[] {
  const { rawName, flags } = source;
  if ((flags & utf8Flag) !== 0) return [];
  const isAscii = rawName.every((byte) => byte < 0x80);
  if (isAscii) return unicodePath(source) === undefined ? [] : [rawName.toString('latin1')];
  return [utf8(rawName) ?? rawName.toString('latin1'), fromCodePage437(rawName)];
}

/** The name in the extra field, if it belongs to this entry. */
function unicodePath({ extra, rawName }: NameSource): Buffer | undefined {
  const field = extra.get(extraId.unicodePath);
  // Version 1 (others take 0 for it), then the CRC of the name that this one replaces: another program
  // that renamed the entry without knowing the field leaves a CRC that does not fit.
  if (field === undefined || field.length < 6 || (field[0] ?? 0) > 1) return undefined;
  return field.readUInt32LE(1) === crc32(rawName) ? field.subarray(5) : undefined;
}

/**
 * Readers that do not know the field take the raw name. The field is for letters that the raw name
 * cannot spell: a second name is a trick when the first one is UTF-8 already, when the second is plain
 * ASCII, or when they differ in more than such letters.
 */
function isHonest(rawName: Buffer, name: string, rawIsUtf8: boolean): boolean {
  if (Buffer.from(name).equals(rawName)) return true;
  const isAscii = /^\p{ASCII}*$/u.test(name);
  return !rawIsUtf8 && !isAscii && isSpelling(rawName.toString('latin1'), name);
}

/**
 * Whether all of ASCII in the name stands in the raw one as well, in its order and with as many slashes.
 * In the place of the other letters may stand the escapes of Info-ZIP, `?` or `_`, or bytes above ASCII,
 * each with one of ASCII at most: some old encodings have pairs of such bytes.
 */
function isSpelling(raw: string, name: string): boolean {
  const spelled = raw.replaceAll(/#U[\da-f]{4}|#L[\da-f]{6}|[?_]/gi, '');
  const wanted = name.replaceAll(/\P{ASCII}|[?_]/gu, '');
  let found = 0;
  let above = 0;
  for (const letter of spelled) {
    if (letter > '\x7f') above += 1;
    else if (letter === wanted[found]) found += 1;
  }
  const left = spelled.length - above - found;
  return found === wanted.length && left <= above && depth(raw) === depth(name);
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
