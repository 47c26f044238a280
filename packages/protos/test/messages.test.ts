import { beforeAll, describe, expect, it } from 'vitest';
import {
  decodeAuthRequest,
  decodeAuthResponse,
  decodeInvocationRequest,
  decodeInvocationResponse,
  decodeModelInput,
  decodeModelOutput,
  decodeStreamRequest,
  decodeStreamResponse,
  encodeAuthRequest,
  encodeAuthResponse,
  encodeInvocationRequest,
  encodeInvocationResponse,
  encodeModelInput,
  encodeModelOutput,
  encodeStreamRequest,
  encodeStreamResponse,
} from '../src/index.js';
import { pythonReference } from './python-reference.js';

let python: (command: string, value: unknown) => unknown;
beforeAll(async () => {
  python = await pythonReference();
});

/** What Python reads of bytes of ours, each with its type. */
const readThere = (...messages: [type: string, bytes: Buffer | Buffer[]][]) =>
  python(
    'read_messages',
    messages.map(([type, bytes]) => [type, Buffer.concat([bytes].flat()).toString('base64')]),
  );
/** The bytes that Python writes. */
const writtenThere = (...messages: [type: string, fields: object][]) =>
  (python('make_messages', messages) as string[]).map((text) => Buffer.from(text, 'base64'));

const base64 = (text: string) => Buffer.from(text, 'latin1').toString('base64');

describe('the messages of redhare', () => {
  it('are read here as Python writes them', () => {
    const attributes = { model_name: 'digits', user_name: 'Zoë', password: '' };
    const [auth, answer, token, data, empty, none, response] = writtenThere(
      ['redhare.AuthRequest', { attributes }],
      ['redhare.AuthResponse', { url: 'host:8500', token: 'ist_1' }],
      ['redhare.Request', { token: 'ist_1' }],
      ['redhare.Request', { data: base64('\0\xff') }],
      ['redhare.Request', { data: '' }],
      ['redhare.Request', {}],
      ['redhare.Response', { data: base64('abc') }],
    ) as [Buffer, Buffer, Buffer, Buffer, Buffer, Buffer, Buffer];
    expect(Object.fromEntries(decodeAuthRequest(auth))).toEqual(attributes);
    expect(decodeAuthResponse(answer)).toEqual({ url: 'host:8500', token: 'ist_1' });
    expect(decodeStreamRequest(token)).toEqual({ token: 'ist_1' });
    expect(decodeStreamRequest(data)).toEqual({ data: Buffer.from([0, 255]) });
    expect(decodeStreamRequest(empty)).toEqual({ data: Buffer.alloc(0) });
    expect(decodeStreamRequest(none)).toBeUndefined();
    expect(decodeStreamResponse(response).toString()).toBe('abc');
    expect(decodeStreamResponse(Buffer.alloc(0))).toHaveLength(0);
  });

  it('are read there as they are written here', () => {
    const attributes = { model_name: 'digits', token: '' };
    expect(
      readThere(
        ['redhare.AuthRequest', encodeAuthRequest(new Map(Object.entries(attributes)))],
        ['redhare.AuthResponse', encodeAuthResponse({ url: 'host:8500', token: 'ist_1' })],
        ['redhare.Request', encodeStreamRequest({ token: '' })],
        ['redhare.Request', encodeStreamRequest({ data: Buffer.from('\xff', 'latin1') })],
        ['redhare.Response', encodeStreamResponse(Buffer.from('abc'))],
        ['redhare.Response', encodeStreamResponse(Buffer.alloc(0))],
      ),
    ).toEqual([
      { attributes },
      { url: 'host:8500', token: 'ist_1' },
      { token: '' },
      { data: base64('\xff') },
      { data: base64('abc') },
      {},
    ]);
  });

  it('count the last of a oneof’s fields, and hand out data without a copy', () => {
    const both = Buffer.concat([
      ...encodeStreamRequest({ token: 't' }),
      ...encodeStreamRequest({ data: Buffer.from('d') }),
    ]);
    const request = decodeStreamRequest(both)!;
    expect(request).toEqual({ data: Buffer.from('d') });
    both.fill('x');
    expect(request).toEqual({ data: Buffer.from('x') });
  });

  it('are refused where they are none, or have too many attributes', () => {
    const many = new Map(Array.from({ length: 101 }, (_, n) => [`k${n}`, 'v']));
    expect(() => decodeAuthRequest(encodeAuthRequest(many))).toThrow('more than 100 attributes');
    for (const bytes of ['\xff', '\x0a\x05a', '\x12\x01\xff']) {
      const garbage = Buffer.from(bytes, 'latin1');
      expect(() => decodeStreamRequest(garbage)).toThrow('The request is no valid protobuf');
    }
    expect(() => decodeAuthRequest(Buffer.from('\x0a\x03\x0a\x01\xff', 'latin1'))).toThrow(
      expect.objectContaining({ code: 'MALFORMED_REQUEST' }),
    );
  });
});

describe('the messages of an invocation', () => {
  const metadata = [
    { key: 'model', value: 'digits' },
    { key: 'model', value: '' },
    { key: '', value: 'Zoë' },
  ];

  it('are read here as Python writes them', () => {
    const model_input = { id: -7, content: 'Grüße', metadata };
    const [request, empty, none, answer, input, output] = writtenThere(
      ['invocation.v1.InvocationRequest', { model_input }],
      ['invocation.v1.InvocationRequest', { model_input: {} }],
      ['invocation.v1.InvocationRequest', {}],
      ['invocation.v1.InvocationResponse', { status: 'ERROR', message: 'no' }],
      ['model.v1.ModelInput', model_input],
      ['model.v1.ModelOutput', { id: 2147483647, metadata }],
    ) as [Buffer, Buffer, Buffer, Buffer, Buffer, Buffer];
    const read = { id: -7, content: Buffer.from('Grüße'), metadata };
    expect(decodeInvocationRequest(request)).toEqual(read);
    expect(decodeInvocationRequest(empty)).toEqual({
      id: 0,
      content: Buffer.alloc(0),
      metadata: [],
    });
    expect(decodeInvocationRequest(none)).toBeUndefined();
    expect(decodeInvocationResponse(answer)).toEqual({ status: 'ERROR', message: 'no' });
    expect(decodeModelInput(input)).toEqual(read);
    expect(decodeModelOutput(output)).toEqual({ id: 2147483647, metadata });
  });

  it('are read there as they are written here', () => {
    const input = { id: -7, content: Buffer.from('Grüße'), metadata: metadata.slice(0, 1) };
    const asJson = { id: -7, content: 'Grüße', metadata: metadata.slice(0, 1) };
    const output = { id: 3, metadata: metadata.slice(0, 1) };
    expect(
      readThere(
        ['invocation.v1.InvocationRequest', encodeInvocationRequest(input)],
        [
          'invocation.v1.InvocationResponse',
          encodeInvocationResponse({ status: 'OK', message: '' }),
        ],
        ['model.v1.ModelInput', encodeModelInput(input)],
        ['model.v1.ModelOutput', encodeModelOutput(output)],
        ['model.v1.ModelOutput', encodeModelOutput({ id: 0, metadata: [] })],
      ),
    ).toEqual([{ model_input: asJson }, { status: 'OK' }, asJson, output, {}]);
  });

  it('have an input in several parts, as protobuf has it', () => {
    const part = (id: number, text: string) =>
      Buffer.concat(
        encodeInvocationRequest({
          id,
          content: Buffer.from(text),
          metadata: [{ key: text, value: '' }],
        }),
      );
    expect(decodeInvocationRequest(Buffer.concat([part(1, 'a'), part(2, 'b')]))).toEqual({
      id: 2,
      content: Buffer.from('b'),
      metadata: [
        { key: 'a', value: '' },
        { key: 'b', value: '' },
      ],
    });
  });

  it('are refused where they are none, or have more metadata than is kept', () => {
    const input = (entries: number, bytes: number) =>
      Buffer.concat(
        encodeModelInput({
          id: 1,
          content: Buffer.alloc(0),
          metadata: new Array(entries).fill({ key: 'k', value: 'v'.repeat(bytes) }),
        }),
      );
    expect(decodeModelInput(input(1_000, 10)).metadata).toHaveLength(1_000);
    expect(() => decodeModelInput(input(1_001, 1))).toThrow('The metadata is more than');
    expect(() => decodeModelInput(input(1, 2 ** 20))).toThrow('The metadata is more than');
    const noText = encodeModelInput({ id: 1, content: Buffer.from([255]), metadata: [] });
    expect(() => decodeModelInput(Buffer.concat(noText))).toThrow('is no UTF-8');
    expect(() => decodeModelOutput(Buffer.from([0x12, 9]))).toThrow(
      expect.objectContaining({ code: 'MALFORMED_REQUEST' }),
    );
  });
});
