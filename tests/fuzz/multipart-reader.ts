/** A part as its bytes stand in the form, each character of its head one byte. */
export interface ReadPart {
  head: string;
  content: Buffer;
  /** Whether a blank line ends the head: without one, readers differ on what the part is. */
  hasBlankLine: boolean;
}

export interface ReadForm {
  parts: ReadPart[];
  /** The closing delimiter is there. */
  ended: boolean;
}

/**
 * Reads a form as RFC 2046 (5.1) and RFC 7578 say, with the whole of it at hand: a second opinion on
 * the streaming parser. A delimiter is the boundary at the beginning of a line, whatever follows it.
 */
export function readForm(body: Buffer, boundary: string): ReadForm {
  const bytes = Buffer.concat([Buffer.from('\r\n'), body]);
  const delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1');
  const parts: ReadPart[] = [];
  for (let at = bytes.indexOf(delimiter); at >= 0;) {
    const start = at + delimiter.length;
    if (bytes.toString('latin1', start, start + 2) === '--') return { parts, ended: true };
    at = bytes.indexOf(delimiter, start);
    if (at >= 0) parts.push(readPart(bytes.subarray(start, at)));
  }
  return { parts, ended: false };
}

function readPart(bytes: Buffer): ReadPart {
  const headEnd = bytes.indexOf('\r\n\r\n');
  const hasBlankLine = headEnd >= 0;
  if (!hasBlankLine) return { head: bytes.toString('latin1'), content: nothing, hasBlankLine };
  const content = bytes.subarray(headEnd + 4);
  return { head: bytes.toString('latin1', 0, headEnd), content, hasBlankLine };
}

const nothing = Buffer.alloc(0);

/** What a part is beyond doubt: any reader sees the same name in it; undefined: doubtful. */
export interface PlainPart {
  name: string;
  /** Undefined: it is a field. */
  fileName: string | undefined;
  encoding: string;
}

export function plainPart({ head, hasBlankLine }: ReadPart): PlainPart | undefined {
  if (!hasBlankLine) return undefined;
  const [rest, ...lines] = head.split('\r\n');
  if (rest !== '' || lines.length > 20 || head.length > 4_000) return undefined;
  const pairs = lines.map((line) => /^([A-Za-z-]+): ([ -~]+)$/.exec(line) ?? []);
  const valuesOf = (name: string) =>
    pairs.filter(([, each]) => each?.toLowerCase() === name).map(([, , value]) => value ?? '');
  const [disposition = '', second] = valuesOf('content-disposition');
  const [encoding = '7bit', ...encodings] = valuesOf('content-transfer-encoding');
  const [type = 'text/plain', ...types] = valuesOf('content-type');
  const plain = /^form-data; name="(\w+)"(?:; filename="([^"\\%;]*)")?$/.exec(disposition);
  const once = second === undefined && encodings.length === 0 && types.length === 0;
  if (plain === null || !once || pairs.some((pair) => pair.length === 0)) return undefined;
  const [, name = '', fileName] = plain;
  // Some readers take a part of this type for a file, whatever else it is.
  if (fileName === undefined && type !== 'text/plain') return undefined;
  return { name, fileName, encoding: encoding.toLowerCase() };
}

/** Whether any reading of the part's head could find the name `zip_file` in it. */
export function couldBeZip({ head }: ReadPart): boolean {
  const decoded = head
    .replace(/%([\da-f]{2})/gi, (_all, hex: string) => String.fromCharCode(parseInt(hex, 16)))
    .replaceAll(/["'\\ \t]|\r\n/g, '');
  return decoded.includes('zip_file');
}
