import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { readForm } from '../src/http/read-form.js';

const disposition = 'Content-Disposition: form-data; name="zip_file"; filename="a.zip"';
const part = (head: string, content: string) => `--b\r\n${head}\r\n\r\n${content}\r\n`;

/** The parts that are found, in pieces of `bytes`; or the code of what is thrown. */
async function read(form: string, { bytes = 65_536, boundary = 'b' } = {}) {
  const chunks: Buffer[] = [];
  for (let at = 0; at < form.length; at += bytes) {
    chunks.push(Buffer.from(form.slice(at, at + bytes), 'latin1'));
  }
  const parts: { name: string; fileName: string | undefined; content: string }[] = [];
  try {
    for await (const { name, fileName, content } of readForm(Readable.from(chunks), boundary)) {
      parts.push({ name, fileName, content: (await buffer(content)).toString('latin1') });
    }
  } catch (error) {
    return (error as { code: string }).code;
  }
  return parts;
}

const one = (content: string) => [{ name: 'zip_file', fileName: 'a.zip', content }];

describe.each([65_536, 7, 1])('a form in pieces of %i bytes', (bytes) => {
  it.each([
    ['nothing around it', `${part(disposition, 'abc')}--b--`],
    ['a preamble and an epilogue', `before\r\n${part(disposition, 'abc')}--b--\r\nbehind`],
    ['names in other letters', `${part(disposition.toUpperCase(), 'abc')}--b--`],
    ['a name without quotes', `${part(disposition.replaceAll('"', ''), 'abc')}--b--`],
    ['a quoted sign', `${part(disposition.replace('zip_', 'zip\\_'), 'abc')}--b--`],
  ])('with %s', async (_what, form) => {
    const fileName = form.includes('A.ZIP') ? 'A.ZIP' : 'a.zip';
    const name = fileName === 'A.ZIP' ? 'ZIP_FILE' : 'zip_file';
    expect(await read(form, { bytes })).toEqual([{ name, fileName, content: 'abc' }]);
  });

  it.each(['', '\r\n', '\r', '\r\n-', '\r\n--', '\r\n-b', '\n--b', '\r\r\n', '--', 'a\r\n--a'])(
    'with a content of nearly a boundary: %j',
    async (content) => {
      expect(await read(`${part(disposition, content)}--b--`, { bytes })).toEqual(one(content));
    },
  );

  it('with an empty file input', async () => {
    const empty = part('Content-Disposition: form-data; name="zip_file"; filename=""', '');
    expect(await read(`${empty}${part(disposition, 'a')}--b--`, { bytes })).toEqual([
      { name: 'zip_file', fileName: '', content: '' },
      ...one('a'),
    ]);
  });
});

/** Each of these was taken, hung or could be read in two ways before. */
describe('a form that is refused', () => {
  const malformed = 'MALFORMED_REQUEST';
  const invalid = 'INVALID_FORM';
  it.each([
    ['a boundary with a dash behind it, twice', `${part(disposition, 'a')}--b-\r\n--b-`, malformed],
    ['a boundary in another line', `${part(disposition, 'a\r\n--bc')}--b--`, malformed],
    ['a boundary with a blank behind it', part(disposition, 'a').replace('--b', '--b '), malformed],
    ['a content that begins with the boundary', `${part(disposition, '--bPK')}--b--`, malformed],
    ['a boundary in a head', `--b\r\n${disposition}\r\n--b\r\n\r\na\r\n--b--`, malformed],
    ['a head without an end', `--b\r\n${disposition}\r\n--b--\r\n`, malformed],
    ['no end', part(disposition, 'a'), malformed],
    ['no part', 'nothing', malformed],
    ['a part without a head', `${part('', 'a')}--b--`, invalid],
    ['a long part without a disposition', `${part('X: y', 'a'.repeat(30_000))}--b--`, invalid],
    ['an attachment', `${part(disposition.replace('form-data', 'attachment'), 'a')}--b--`, invalid],
    ['two dispositions', `${part(`${disposition}\r\n${disposition}`, 'a')}--b--`, invalid],
    ['two names', `${part(`${disposition}; name="a"`, 'a')}--b--`, invalid],
    ['a name of another form', `${part(`${disposition}; name*=utf-8''a`, 'a')}--b--`, invalid],
    ['a header that goes on', `${part(disposition.replace('; ', ';\r\n '), 'a')}--b--`, invalid],
    ['half a line break in a head', `${part(`X: \ry\r\n${disposition}`, 'a')}--b--`, invalid],
    [
      'a head of 20 KiB',
      `${part(`X: ${'x'.repeat(20_480)}\r\n${disposition}`, 'a')}--b--`,
      invalid,
    ],
    ['40 headers', `${part(`${'X: y\r\n'.repeat(40)}${disposition}`, 'a')}--b--`, invalid],
    ['an open quote', `${part(disposition.slice(0, -1), 'a')}--b--`, invalid],
    ['a preamble of 300 KiB', `${'p'.repeat(307_200)}\r\n${part(disposition, 'a')}--b--`, invalid],
    ['an epilogue of 300 KiB', `${part(disposition, 'a')}--b--${'e'.repeat(307_200)}`, invalid],
  ])('for %s', async (_what, form, code) => {
    expect(await read(form)).toBe(code);
    expect(await read(form, { bytes: 1_000 })).toBe(code);
  });
});

it('what is left of a form that nobody reads to its end stays where it is', async () => {
  const message = new Readable({ read: () => undefined });
  message.push(`${part(disposition, 'a')}--b\r\n`);
  for await (const { content } of readForm(message, 'b')) {
    expect((await buffer(content)).toString()).toBe('a');
    message.push(`${disposition}\r\n\r\nsecond\r\n--b--`);
    message.push(null);
    break;
  }
  expect(message.listenerCount('data') + message.listenerCount('error')).toBe(0);
  expect(message.destroyed).toBe(false);
  message.resume();
  expect((await buffer(message)).toString()).toContain('second');
});
