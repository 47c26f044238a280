import { crc32 } from 'node:zlib';
import { asUnzipWrites, fromCodePage437 } from './code-pages.js';
import { nameProblem } from './entry-name.js';
import { extraId, type ExtraFields } from './extra-fields.js';
import type { ZipRefusal } from './zip-refused.js';

/** What the name of an entry is made from. */
export interface NameSource {
  rawName: Buffer;
  extra: ExtraFields;
  flags: number;
  madeBy: number;
}

export interface EntryName {
  /** As we extract it, without the slash at the end that makes a folder. */
  path: string;
  kind: 'file' | 'folder';
  /** Where else a known reader may put the same entry. */
  otherPaths: readonly string[];
  /** Where one may put it that has the same letter for many: also honest entries meet there. */
  blurredPaths: readonly string[];
}

/**
 * The name of an entry in every reading that is known of other readers, each held against the rules.
 * Whether two entries meet in one of them is for the tree to say.
 */
export function readName(source: NameSource): EntryName | { refused: ZipRefusal } {
  const raw = source.rawName.toString('latin1');
  const rawPath = withoutSlash(raw);
  // Before decoding: what is too long shall not become text, and code page 437 has pictures in the
  // place of control characters.
  const rawProblem = nameProblem(rawPath, 'latin1');
  if (rawProblem !== undefined) return { refused: rawProblem };
  const decoded = decodeName(source, raw);
  if ('refused' in decoded) return decoded;
  const kind = decoded.name.endsWith('/') ? 'folder' : 'file';
  const paths = new Set<string>();
  const blurredPaths: string[] = [];
  for (const { name, encoding, isBlurred } of [decoded, ...otherReadings(source, raw)]) {
    for (const path of placesOf(withoutSlash(name), kind)) {
      if (paths.has(path)) continue;
      // The raw one was held against them above, as far as its bytes tell letters.
      const isDone = path === rawPath && (encoding === 'latin1' || isAscii(path));
      const problem = isDone ? undefined : nameProblem(path, encoding);
      if (problem !== undefined) return { refused: problem };
      if (isBlurred === true) blurredPaths.push(path);
      else paths.add(path);
    }
  }
  const [path = ''] = paths;
  for (const place of placesOf(path, kind)) paths.add(inEscapes(place));
  const [, ...otherPaths] = paths;
  return { path, kind, otherPaths, blurredPaths };
}

/**
 * A path and, where it differs, what unzip makes of it: that takes what follows the last semicolon of a
 * file for its version on VMS, and drops it.
 */
export function placesOf(path: string, kind: 'file' | 'folder'): readonly string[] {
  const isVersion = kind === 'file' && /;\d*$/.test(path);
  return isVersion ? [path, path.slice(0, path.lastIndexOf(';'))] : [path];
}

interface Reading {
  name: string;
  /** In latin1 a letter is a byte of the zip, which above ASCII may stand for anything. */
  encoding: 'utf8' | 'latin1';
  /** Whether many letters became one. */
  isBlurred?: true;
}

/**
 * The name that we extract: UTF-8 where the zip says so, in the flag or in Info-ZIP's extra field
 * (APPNOTE 4.6.9), and where a Unix or macOS program wrote bytes that are UTF-8 without saying so; the
 * old code page 437 otherwise.
 */
function decodeName(source: NameSource, raw: string): Reading | { refused: ZipRefusal } {
  const { rawName, flags, madeBy } = source;
  const field = unicodePath(source);
  if (field !== undefined) {
    // Version 1 is the only one. Some readers take any, and nothing for a name as well.
    if (field.version !== 1 || field.name.length === 0) return { refused: 'bad_extra' };
    const name = utf8(field.name);
    if (name === undefined) return { refused: 'invalid_utf8' };
    // For letters that the raw name cannot spell: beside one in UTF-8 a second one is a trick.
    const isHonest = field.name.equals(rawName) || ((flags & utf8Flag) === 0 && spells(raw, name));
    return isHonest ? { name, encoding: 'utf8' } : { refused: 'two_names' };
  }
  if (isAscii(raw)) return { name: raw, encoding: 'utf8' };
  const isUtf8 = (flags & utf8Flag) !== 0;
  const name = isUtf8 || unixHosts.has(madeBy >> 8) ? utf8(rawName) : undefined;
  if (name === undefined && isUtf8) return { refused: 'invalid_utf8' };
  return { name: name ?? fromCodePage437(rawName), encoding: 'utf8' };
}

/**
 * What other readers take for the name, which decode what is neither flagged nor ASCII as they see fit
 * or know no extra field. Only letters that are not ASCII differ in these, or stand where such letters are.
 */
function* otherReadings(source: NameSource, raw: string): Generator<Reading> {
  const { rawName, flags, madeBy } = source;
  if (isAscii(raw)) {
    yield { name: raw, encoding: 'latin1' };
    return;
  }
  if ((flags & utf8Flag) === 0) {
    // unzip drops the byte 255 from a name.
    for (const bytes of raw.includes('\xff') ? [rawName, rawName.filter(isNot255)] : [rawName]) {
      yield { name: Buffer.from(bytes).toString('latin1'), encoding: 'latin1' };
      yield { name: fromCodePage437(bytes), encoding: 'latin1' };
      const name = utf8(bytes);
      if (name !== undefined) yield { name, encoding: 'utf8' };
    }
  }
  if (dosHosts.has(madeBy >> 8)) {
    yield { name: asUnzipWrites(rawName), encoding: 'latin1', isBlurred: true };
  }
}

/** The extra field, if it belongs to this entry. */
function unicodePath({
  extra,
  rawName,
}: NameSource): { version: number | undefined; name: Buffer } | undefined {
  const field = extra.get(extraId.unicodePath);
  // Behind the version the CRC of the name that this one replaces: another program that renamed the
  // entry without knowing the field leaves a CRC that does not fit.
  if (field === undefined || field.length < 5) return undefined;
  if (field.readUInt32LE(1) !== crc32(rawName)) return undefined;
  return { version: field[0], name: field.subarray(5) };
}

/**
 * Whether the raw name may be the same one in letters that cannot spell it: part for part, what is
 * ASCII in the name stands in the raw one as well, in its order. In the place of the other letters may
 * stand the escapes of Info-ZIP and of Ant, `?` or `_`, the most similar one of ASCII for each, or bytes
 * above ASCII, each with one of those of ASCII that end a letter of two bytes in the old encodings of
 * East Asia.
 */
function spells(raw: string, name: string): boolean {
  const rawParts = raw.split('/');
  const parts = name.split('/');
  const areSame = (part: string, index: number) => {
    const rawPart = rawParts[index] ?? '';
    return isAscii(part) ? part === rawPart : spellsPart(rawPart, part);
  };
  return parts.length === rawParts.length && parts.every(areSame);
}

function spellsPart(raw: string, part: string): boolean {
  const spelled = raw.replaceAll(/[#%]U[\da-f]{4}|#L[\da-f]{6}|[?_]/gi, '');
  const wanted = part.replaceAll(/\P{ASCII}|[?_]/gu, '');
  let found = 0;
  let left = 0;
  for (const letter of spelled) {
    if (letter > '\x7f') continue;
    if (letter === wanted[found]) found += 1;
    else if (/[\d@-~ '"(),.<>!%-]/.test(letter)) left += 1;
    else return false;
  }
  const pairs = spelled.match(/[\x80-\xff][\d@-~]/g)?.length ?? 0;
  const foreign = [...part.matchAll(/\P{ASCII}/gu)].length;
  return found === wanted.length && left <= pairs + foreign;
}

/**
 * As unzip writes the letters that its locale lacks, so in C all that are not ASCII. Only ever longer than
 * the name, and its parts no others: no rule beside lengths could say more of it.
 */
export function inEscapes(name: string): string {
  return name.replaceAll(/\P{ASCII}/gu, (letter) => {
    const code = (letter.codePointAt(0) ?? 0).toString(16);
    return code.length > 4 ? `#L${code.padStart(6, '0')}` : `#U${code.padStart(4, '0')}`;
  });
}

function withoutSlash(name: string): string {
  return name.endsWith('/') ? name.slice(0, -1) : name;
}

function isAscii(text: string): boolean {
  return /^\p{ASCII}*$/u.test(text);
}

function isNot255(byte: number): boolean {
  return byte !== 0xff;
}

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return undefined;
  }
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const utf8Flag = 0x800;
/** Unix and macOS, in the upper byte of "version made by". */
const unixHosts = new Set([3, 19]);
/** FAT, HPFS and NTFS, of which unzip translates also what is flagged as UTF-8. */
const dosHosts = new Set([0, 6, 11]);
