import { post, smuggled, zip, zipOf, type HostileRequest } from './hostile-request.js';
import type { RawStep } from '@inference-server/testing';

type Answers = HostileRequest['answers'];

const refused: Answers = [[400, 'MALFORMED_REQUEST']];
const invalid: Answers = [[422, 'INVALID_FORM']];
const accepted: Answers = [[200]];

const boundary = 'x';
const end = `\r\n--${boundary}--\r\n`;
const zipDisposition = 'Content-Disposition: form-data; name="zip_file"; filename="a.zip"';

/** A part, without the line break after it. */
function part(headers: string, content: string | Buffer = zip): Buffer {
  return Buffer.concat([
    Buffer.from(`--${boundary}\r\n${headers}\r\n\r\n`, 'latin1'),
    typeof content === 'string' ? Buffer.from(content, 'latin1') : content,
  ]);
}

/** Every form here, with what it is answered. */
const forms: [name: string, parts: (string | Buffer)[], answers: Answers][] = [
  ['an epilogue', [part(zipDisposition), end, 'what nobody reads'], accepted],
  ['a preamble', ['what nobody reads\r\n', part(zipDisposition), end], accepted],
  ['an endless preamble', ['p'.repeat(2 ** 20), '\r\n', part(zipDisposition), end], invalid],
  ['an endless epilogue', [part(zipDisposition), end, 'e'.repeat(2 ** 20)], invalid],
  ['a part after the end', [part(zipDisposition), end, part(zipDisposition), end], accepted],
  ['two files', [part(zipDisposition), '\r\n', part(zipDisposition), end], invalid],
  ['nothing', [`--${boundary}--\r\n`], invalid],
  ['no end', [part(zipDisposition)], refused],
  [
    'another boundary than declared',
    ['--y\r\n', zipDisposition, '\r\n\r\n', zip, '\r\n--y--\r\n'],
    refused,
  ],
  ['a part without headers', [part('', zip), end], invalid],
  ['a part without a disposition', [part('Content-Type: application/zip'), end], invalid],
  ['a part without a name', [part('Content-Disposition: form-data; filename="a"'), end], invalid],
  ['an empty name', [part('Content-Disposition: form-data; name=""; filename="a"'), end], invalid],
  [
    'the name of a prototype',
    [part('Content-Disposition: form-data; name="__proto__"; filename="a"'), end],
    invalid,
  ],
  [
    'an attachment',
    [part('Content-Disposition: attachment; name="zip_file"; filename="a"'), end],
    invalid,
  ],
  [
    'a part that is nested',
    [
      part(
        `${zipDisposition}\r\nContent-Type: multipart/mixed; boundary=y`,
        '--y\r\n\r\na\r\n--y--',
      ),
      end,
    ],
    [[422, 'ZIP_REFUSED']],
  ],
  [
    'base64',
    [part(`${zipDisposition}\r\nContent-Transfer-Encoding: base64`, zip.toString('base64')), end],
    invalid,
  ],
  [
    'a header of 100 KiB before the name',
    [part(`X: ${'x'.repeat(100_000)}\r\n${zipDisposition}`), end],
    invalid,
  ],
  ['a header of 1 MiB', [part(`${zipDisposition}\r\nX: ${'x'.repeat(2 ** 20)}`), end], invalid],
  ['100 headers', [part(`${'X: y\r\n'.repeat(100)}${zipDisposition}`), end], invalid],
  [
    'a field of 1 MiB',
    [part('Content-Disposition: form-data; name="zip_file"', 'a'.repeat(2 ** 20)), end],
    invalid,
  ],
  [
    '20 fields',
    [
      ...Array.from({ length: 20 }, () =>
        Buffer.concat([
          part('Content-Disposition: form-data; name="zip_file"', ''),
          Buffer.from('\r\n'),
        ]),
      ),
      part(zipDisposition),
      end,
    ],
    invalid,
  ],
  [
    'a file name of markup',
    [
      part(
        'Content-Disposition: form-data; name="zip_file"; filename="<script>secret-name</script>"',
      ),
      end,
    ],
    accepted,
  ],
  [
    'a file name that leads out',
    [part('Content-Disposition: form-data; name="zip_file"; filename="../../secret-name"'), end],
    accepted,
  ],
  [
    'a file name with a NUL',
    [part('Content-Disposition: form-data; name="zip_file"; filename="secret-name\0.zip"'), end],
    accepted,
  ],
  [
    'a file name with a line break',
    [part('Content-Disposition: form-data; name="zip_file"; filename="secret-name\n.zip"'), end],
    invalid,
  ],
  [
    'filename*',
    [
      part(
        'Content-Disposition: form-data; name="zip_file"; filename*=UTF-8\'\'secret-name%0d%0a.zip',
      ),
      end,
    ],
    invalid,
  ],
  [
    'a zip that names a secret',
    [part(zipDisposition, zipOf('true', 'secret-name')), end],
    accepted,
  ],
  [
    'a zip that leads out',
    [part(zipDisposition, zipOf('true', '../secret-name')), end],
    [[422, 'ZIP_REFUSED']],
  ],
  [
    'a zip that names markup',
    [part(zipDisposition, zipOf('true', '<b>secret-name')), end],
    accepted,
  ],
  [
    'a zip that names control characters',
    [part(zipDisposition, zipOf('true', 'secret-name\n')), end],
    [[422, 'ZIP_REFUSED']],
  ],
  [
    'a boundary in the content',
    [part(zipDisposition, `a${end}${zip.toString('latin1')}`), end],
    [[422, 'ZIP_REFUSED']],
  ],
  [
    'bare line feeds',
    [
      Buffer.from(
        Buffer.concat([part(zipDisposition), Buffer.from(end)])
          .toString('latin1')
          .replaceAll('\r\n', '\n'),
        'latin1',
      ),
    ],
    refused,
  ],
];

const contentTypes: [string, Answers][] = [
  ['multipart/form-data', refused],
  ['multipart/form-data; boundary=', refused],
  [`multipart/form-data; boundary=${'x'.repeat(71)}`, refused],
  ['multipart/form-data; boundary=x; boundary=y', refused],
  ['multipart/form-data; boundary="x<b>"', refused],
  ['multipart/mixed; boundary=x', [[415, 'UNSUPPORTED_MEDIA_TYPE']]],
  ['text/html; boundary=x', [[415, 'UNSUPPORTED_MEDIA_TYPE']]],
];

/** Forms: one part `zip_file` is taken, or nothing. */
export const formAttacks: HostileRequest[] = [
  ...forms.map(([name, parts, answers]) => ({
    name: `a form with ${name}`,
    ...(answers === accepted ? { stores: true as const } : {}),
    steps: (to: Parameters<HostileRequest['steps']>[0]): RawStep[] => {
      const body = Buffer.concat(
        parts.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece)),
      );
      const type = `Content-Type: multipart/form-data; boundary=${boundary}\r\n`;
      return [post(to, `${type}Content-Length: ${body.length}\r\n`, body)];
    },
    answers,
  })),
  ...contentTypes.map(([type, answers]) => ({
    name: `the type ${type.slice(0, 60)}`,
    steps: (to: Parameters<HostileRequest['steps']>[0]): RawStep[] => {
      const body = Buffer.concat([part(zipDisposition), Buffer.from(end)]);
      return [post(to, `Content-Type: ${type}\r\nContent-Length: ${body.length}\r\n`, body)];
    },
    answers,
  })),
  {
    name: 'a request as the file of a form',
    steps: (to) => {
      const body = Buffer.concat([part(zipDisposition, smuggled(to)), Buffer.from(end)]);
      return [
        post(
          to,
          `Content-Type: multipart/form-data; boundary=x\r\nContent-Length: ${body.length}\r\n`,
          body,
        ),
      ];
    },
    answers: [[422, 'ZIP_REFUSED']],
  },
];
