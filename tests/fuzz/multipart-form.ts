import fc from 'fast-check';
import { often } from './often.js';

/** One request with a form, or with something that is nearly one. */
export interface FormCase {
  contentType: string;
  /** With which the parts were put together. */
  boundary: string;
  body: Buffer;
  /** Of the content type: any reader takes the boundary from it. */
  isPlainType: boolean;
  framing: 'length' | 'chunked' | 'short' | 'long';
  pieceBytes: number;
  inTurns: boolean;
  expectsContinue: boolean;
  /** What the client does at the end of its writing; `cutAt`: where that is, as a share. */
  then: 'wait' | 'end' | 'close' | 'reset';
  cutAt: number;
  /** The disk of the server that it is sent to has no room. */
  isFull: boolean;
}

const latin1 = (text: string) => Buffer.from(text, 'latin1');
const filling = latin1('PK\u0003\u0004 content \u0000\u00ff\r\n-- '.repeat(1_400));

const boundary = fc.oneof(
  often(12, fc.constantFrom('x', '----WebKitFormBoundaryAbC123', 'b0undary', '-', '--', 'a-')),
  fc.constantFrom("'()+_,-./:=?", 'b'.repeat(70), 'b'.repeat(71), 'b b', 'x ', ' x', '', 'x"y'),
  fc.string({ maxLength: 72 }).map((text) => text.replaceAll(/[\r\n]/g, '')),
);

/** A piece of content, once the boundary is known. */
type Piece = (boundary: string) => Buffer;

const piece: fc.Arbitrary<Piece> = fc.oneof(
  often(
    6,
    fc.tuple(fc.nat(2_000), fc.nat(3_000)).map(
      ([from, bytes]) =>
        () =>
          filling.subarray(from, from + bytes),
    ),
  ),
  fc.nat(30_000).map((bytes) => () => filling.subarray(0, bytes)),
  fc.constantFrom('\r\n', '\n', '\r', '-', '--', '\r\n-', '\r\n--', '\0', '').map((text) => () => {
    return latin1(text);
  }),
  fc.constantFrom('--', '\n--', '\r--', '\r\n -').map((start): Piece => (known) => {
    return latin1(start + known);
  }),
  fc.constantFrom(1, 2, 5).map((cut): Piece => (known) => {
    return latin1(`\r\n--${known}`.slice(0, -cut));
  }),
);
const rarePiece: fc.Arbitrary<Piece> = fc
  .constantFrom('', '-', '--', '\r\n', ' \r\n\r\n', 'junk', '--\r\n')
  .map((end) => (known) => latin1(`\r\n--${known}${end}`));
const content: fc.Arbitrary<Piece> = fc
  .array(fc.oneof(often(20, piece), rarePiece), { maxLength: 5 })
  .map((pieces) => (known) => Buffer.concat(pieces.map((make) => make(known))));

interface Part {
  head: string;
  content: Piece;
}

const none: Piece = () => Buffer.alloc(0);
const fileName = fc.oneof(
  fc.constantFrom('a.zip', 'input.zip', 'x', '../../secret-name', 'C:\\\\a.zip', 'größe.zip'),
  fc.constantFrom('<b>secret-name</b>', 'a%22b', 'a b', "a'b", 'n'.repeat(300), '', 'é\u0301'),
);
const zipHead = fc
  .tuple(
    fc.constantFrom('Content-Disposition', 'content-disposition', 'CONTENT-DISPOSITION'),
    fileName,
    fc.constantFrom<string[]>(
      [],
      ['Content-Type: application/zip'],
      ['Content-Type: application/octet-stream', 'Content-Transfer-Encoding: binary'],
      ['content-type: text/plain', 'X-Extra: 1'],
    ),
    fc.boolean(),
  )
  .map(([name, file, others, isFirst]) => {
    const line = `${name}: form-data; name="zip_file"; filename="${file}"`;
    return (isFirst ? [line, ...others] : [...others, line]).join('\r\n');
  });
const zipPart: fc.Arbitrary<Part> = fc.record({ head: zipHead, content });
const emptyInput: fc.Arbitrary<Part> = fc.constantFrom(
  { head: 'Content-Disposition: form-data; name="zip_file"', content: none },
  { head: 'Content-Disposition: form-data; name="zip_file"; filename=""', content: none },
);
const otherPart: fc.Arbitrary<Part> = fc.record({
  head: fc
    .constantFrom('other', 'zip_files', 'ZIP_FILE', '', '__proto__', 'constructor', 'zip_file[]')
    .map((name) => `Content-Disposition: form-data; name="${name}"; filename="a.zip"`),
  content,
});

const disposition = fc.constantFrom(
  'form-data',
  'attachment',
  'form-data; name=zip_file; filename=a.zip',
  'form-data; name="zip_file"; filename*=UTF-8\'\'a%0d%0a.zip',
  "form-data; name*=utf-8''zip%5Ffile; filename=a",
  'form-data; name="zip_file";filename="a',
  'form-data; name="zip\\_file"; filename="a\\"b"',
  'form-data; filename="a"; name="zip_file"',
  'form-data; name="zip_file"; name="other"; filename="a"',
  'form-data; name="other"; name="zip_file"; filename="a"',
  'form-data; name="zip_file"; filename="a"; filename="b"',
  'form-data; name="zip_file"; filename="a\nb"',
  'form-data; name="zip_file"; filename="a\0b"',
  'form-data ; name = "zip_file" ; filename = "a"',
  'form-data;name=zip_file;filename=a;',
  'FORM-DATA; NAME="zip_file"; FILENAME="a"',
  'form-data; name="zip_file\0"; filename="a"',
  'form-data; name="=?utf-8?Q?zip_file?="; filename="a"',
  "form-data; name*=x''zip_file; filename*=utf-99''%ff%fe",
  'form-data; name*=; filename*',
  ';;;',
  '',
);
const line = fc.oneof(
  often(
    4,
    disposition.map((value) => `Content-Disposition: ${value}`),
  ),
  fc.constantFrom(
    'Content-Disposition:form-data; name="zip_file"; filename="a"',
    'Content-Disposition: form-data;\r\n name="zip_file";\r\n\tfilename="a"',
    ' Content-Disposition: form-data; name="zip_file"; filename="a"',
    'Content-Disposition : form-data; name="zip_file"; filename="a"',
    'Content-Type: application/json',
    'Content-Type: multipart/mixed; boundary=x',
    'Content-Type: text/plain; charset=utf-99',
    'Content-Type: text/plain; charset',
    'Content-Type: application/octet-stream',
    'Content-Type:',
    'Content-Transfer-Encoding: base64',
    'Content-Transfer-Encoding: quoted-printable',
    'Content-Length: 3',
    'no colon',
    ': no name',
    'X: \r y',
    'X: \n y',
    '__proto__: 1',
  ),
  fc.constantFrom(50, 5_000, 81_920, 300_000).map((bytes) => `X-Long: ${'x'.repeat(bytes)}`),
  fc.constantFrom(31, 32, 33, 2_100).map((count) => 'X: y\r\n'.repeat(count).slice(0, -2)),
  fc.string({ unit: 'binary', maxLength: 30 }),
);
const strangePart: fc.Arbitrary<Part> = fc.record({
  head: fc.array(line, { maxLength: 4 }).map((lines) => lines.join('\r\n')),
  content: fc.oneof(content, fc.constant(none)),
});

const parts = fc.oneof(
  often(
    6,
    zipPart.map((part) => [part]),
  ),
  fc.tuple(emptyInput, zipPart),
  fc.tuple(zipPart, emptyInput),
  fc.tuple(zipPart, zipPart),
  fc
    .shuffledSubarray([0, 1, 2], { minLength: 1 })
    .chain((order) =>
      fc.tuple(zipPart, otherPart, emptyInput).map((all) => order.map((at) => all[at]!)),
    ),
  fc.array(fc.oneof(zipPart, otherPart, strangePart), { maxLength: 3 }),
  fc.array(strangePart, { maxLength: 3 }),
  fc.array(emptyInput, { maxLength: 9 }),
);

const around = fc.oneof(
  often(12, fc.constant('')),
  fc.constantFrom('what nobody reads', '\r\n', '\r\n\r\n', '-', '--', 'p'.repeat(10_000)),
  fc.constantFrom('p'.repeat(255_000), 'e'.repeat(300_000)),
);

/** The part of a form between two lines, or at its end, that is not as it should be. */
const form = fc
  .record({
    boundary,
    preamble: around,
    parts,
    padding: fc.oneof(often(20, fc.constant('')), fc.constantFrom(' ', '\t ', 'junk', '-')),
    lineEnd: fc.oneof(often(30, fc.constant('\r\n')), fc.constantFrom('\n', '\r')),
    end: fc.oneof(often(15, fc.constant('--\r\n')), fc.constantFrom('--', '', '-', '-- ', '\r\n')),
    epilogue: around,
  })
  .map((made) => {
    const { boundary: known, preamble, lineEnd } = made;
    const pieces = made.parts.flatMap((part) => [
      latin1(`--${known}${made.padding}${lineEnd}${part.head}${lineEnd}${lineEnd}`),
      part.content(known),
      latin1(lineEnd),
    ]);
    const start = preamble === '' ? '' : `${preamble}${lineEnd}`;
    const ending = latin1(`--${known}${made.end}${made.epilogue}`);
    return { boundary: known, body: Buffer.concat([latin1(start), ...pieces, ending]) };
  });

type Damage = (body: Buffer) => Buffer;
const damage: fc.Arbitrary<Damage> = fc.oneof(
  fc.double({ min: 0, max: 1, noNaN: true }).map((share): Damage => {
    return (body) => body.subarray(0, Math.floor(share * body.length));
  }),
  fc.tuple(fc.nat(), fc.nat(255)).map(([at, byte]): Damage => (body) => {
    const changed = Buffer.from(body);
    if (changed.length > 0) changed[at % changed.length] = byte;
    return changed;
  }),
  fc.tuple(fc.nat(), fc.uint8Array({ maxLength: 12 })).map(([at, bytes]): Damage => (body) => {
    const cut = at % (body.length + 1);
    return Buffer.concat([body.subarray(0, cut), bytes, body.subarray(cut)]);
  }),
  fc.tuple(fc.nat(), fc.nat(40)).map(([at, bytes]): Damage => (body) => {
    const cut = at % (body.length + 1);
    return Buffer.concat([body.subarray(0, cut), body.subarray(cut + bytes)]);
  }),
  fc
    .constantFrom(['\r\n', '\n'], ['\r\n', '\r'], ['--', '-'])
    .map(([from = '', to = '']): Damage => {
      return (body) => latin1(body.toString('latin1').replace(from, to));
    }),
);

/** A content type with the boundary in it, and whether every reader finds the same there. */
type TypeOf = (boundary: string) => [contentType: string, isPlain: boolean];
const contentType: fc.Arbitrary<TypeOf> = fc.oneof(
  often<TypeOf>(
    25,
    fc.constant((known) => {
      const isToken = /^[\w'+.-]{1,70}$/.test(known);
      const isPlain = isToken || /^[\w'()+,\-./:=? ]{0,69}[\w'()+,\-./:=?]$/.test(known);
      return [`multipart/form-data; boundary=${isToken ? known : `"${known}"`}`, isPlain];
    }),
  ),
  fc
    .constantFrom<(known: string) => string>(
      (known) => `multipart/form-data; boundary=${known}`,
      (known) => `Multipart/Form-Data; Boundary="${known}"; charset=utf-8`,
      (known) => `multipart/form-data;charset="a;b";boundary=${known}`,
      (known) => `multipart/form-data; boundary=${known} y`,
      (known) => `multipart/form-data; boundary = ${known}`,
      (known) => `multipart/form-data; boundary=${known}; boundary=y`,
      (known) => `multipart/form-data; boundary*=utf-8''${known}`,
      (known) => `multipart/form-data; a="; boundary=y"; boundary=${known}`,
      (known) => `multipart/form-data; boundary="${known}`,
      (known) => `multipart/form-data; boundary="${known}"z`,
      (known) => `multipart/form-data, multipart/form-data; boundary=${known}`,
      (known) => `multipart/mixed; boundary=${known}`,
      () => 'multipart/form-data',
      () => 'application/zip',
      () => 'application/x-zip-compressed',
      () => 'application/json',
      () => 'text/plain',
      () => '',
    )
    .map((make): TypeOf => (known) => [make(known), false]),
);

/** Forms of all kinds, mostly whole ones, in any framing. */
export const formCase: fc.Arbitrary<FormCase> = fc
  .record({
    form,
    typeOf: contentType,
    damages: fc.oneof(
      often(3, fc.constant<Damage[]>([])),
      fc.array(damage, { minLength: 1, maxLength: 3 }),
    ),
    framing: fc.oneof(
      often(8, fc.constant('length' as const)),
      often(8, fc.constant('chunked' as const)),
      fc.constantFrom('short' as const, 'long' as const),
    ),
    pieceBytes: fc.oneof(
      often(4, fc.constantFrom(65_536, 16_384)),
      fc.constantFrom(4_096, 1_000, 100),
      fc.integer({ min: 1, max: 2_000 }),
    ),
    inTurns: fc.oneof(often(2, fc.constant(false)), fc.constant(true)),
    expectsContinue: fc.oneof(often(20, fc.constant(false)), fc.constant(true)),
    then: fc.oneof(
      often(30, fc.constant('wait' as const)),
      fc.constantFrom('end' as const, 'close' as const, 'reset' as const),
    ),
    cutAt: fc.double({ min: 0, max: 1.2, noNaN: true }),
    isFull: fc.oneof(often(40, fc.constant(false)), fc.constant(true)),
  })
  .map(({ form: { boundary: known, body }, typeOf, damages, ...rest }) => {
    const [type, isPlainType] = typeOf(known);
    const damaged = damages.reduce<Buffer>((bytes, change) => change(bytes), body);
    return { ...rest, boundary: known, body: damaged, contentType: type, isPlainType };
  });
