import { describe, expect, it } from 'vitest';
import type { ModelField } from '@inference-server/contracts';
import {
  contentOfOutputs,
  contentOfValues,
  encodeOutputs,
  inputsOfContent,
  metadataOfValues,
  plainOutputs,
  takesContentAsIs,
  tensorsOfPlain,
} from '../src/index.js';

const text = (name: string, shape?: number[]): ModelField => ({
  name,
  dtype: 'DT_STRING',
  ...(shape && { shape }),
});
const number = (name: string): ModelField => ({ name, dtype: 'DT_INT64', shape: [] });
const bytes = Buffer.from([0, 255, 1]);
const kib = 1_024;

describe('content for inputs', () => {
  it.each<[string, number[] | undefined, unknown]>([
    ['a scalar', [], bytes],
    ['one of no said shape', undefined, bytes],
    ['one element', [1, 1], [[bytes]]],
    ['as many as there are', [-1], [bytes]],
  ])('goes as it is to the one text, %s', (_, shape, value) => {
    const inputs = [text('image', shape)];
    expect(inputsOfContent({ inputs }, bytes, kib)).toEqual({ image: value });
    expect(tensorsOfPlain(inputs, inputsOfContent({ inputs }, bytes, kib)).size).toBe(1);
  });

  it.each<[boolean, boolean, ModelField[]]>([
    [true, true, [text('a')]],
    [true, true, [text('metadata')]],
    [false, true, [text('a'), text('metadata')]],
    [false, true, [{ ...text('metadata', [-1]), dtype: 'DT_MAP', subfields: [] }, text('a', [1])]],
    [false, false, [text('a'), number('metadata')]],
    [false, false, [text('a'), text('b')]],
    [false, false, [number('a'), text('metadata')]],
  ])('is read by nobody: %s, beside metadata: %s', (alone, beside, inputs) => {
    expect(takesContentAsIs({ inputs })).toBe(alone);
    expect(takesContentAsIs({ inputs }, true)).toBe(beside);
    const large = Buffer.alloc(kib + 1, ' ');
    const read = (metadata?: []) => inputsOfContent({ inputs }, large, kib, metadata);
    if (alone) expect(Object.values(read()).flat(2)).toContain(large);
    else expect(() => read()).toThrow(/MAX_JSON_BYTES/);
    if (beside) expect(Object.values(read([])).flat(2)).toContain(large);
    else expect(() => read([])).toThrow(/MAX_JSON_BYTES/);
  });

  it('is a JSON object by name for any others', () => {
    const read = (json: string, ...inputs: ModelField[]) =>
      inputsOfContent({ inputs }, Buffer.from(json), kib);
    expect(read('{"n":9007199254740993}', number('n'))).toEqual({ n: 2n ** 53n + 1n });
    expect(read('{"a":"1","b":2}', text('a'), number('b'))).toEqual({ a: '1', b: 2 });
    expect(read('{"a":["1","2"]}', text('a', [2]))).toEqual({ a: ['1', '2'] });
    expect(Object.keys(read('{"__proto__":1}', number('__proto__')))).toEqual(['__proto__']);
    expect(inputsOfContent(undefined, Buffer.from('{"any":[1]}'), kib)).toEqual({ any: [1] });
  });

  it.each([
    ['{secret', 'MALFORMED_REQUEST', 'The content is no JSON.'],
    ['{"a":1,"a":2}', 'MALFORMED_REQUEST', 'The content is not read: a name stands twice'],
    ['\xff', 'MALFORMED_REQUEST', 'The content is no JSON.'],
    ['["secret"]', 'VALIDATION_FAILED', 'The content must be a JSON object'],
    ['null', 'VALIDATION_FAILED', 'The content must be a JSON object'],
  ])('is refused where it is %s', (content, code, message) => {
    const read = () =>
      inputsOfContent({ inputs: [number('a')] }, Buffer.from(content, 'latin1'), kib);
    expect(read).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) as string }),
    );
  });

  it('is refused as JSON where that is too large, and as text is not', () => {
    const large = Buffer.alloc(kib + 1, ' ');
    for (const contract of [{ inputs: [number('a')] }, undefined]) {
      expect(() => inputsOfContent(contract, large, kib)).toThrow(
        expect.objectContaining({ code: 'PAYLOAD_TOO_LARGE' }),
      );
    }
    expect(inputsOfContent({ inputs: [text('t')] }, large, kib)).toEqual({ t: large });
  });

  it('has its texts counted apart, but for their quotes', () => {
    const inputs = [text('image'), number('a')];
    const read = (image: string) =>
      inputsOfContent({ inputs }, Buffer.from(JSON.stringify({ image, a: 1 })), kib);
    for (const image of ['x'.repeat(9 * kib), '\\'.repeat(9 * kib), `${'\\'.repeat(kib)}"`]) {
      expect(read(image)).toEqual({ image, a: 1 });
    }
    expect(() => read('"'.repeat(kib))).toThrow(
      expect.objectContaining({ code: 'PAYLOAD_TOO_LARGE' }),
    );
    // The text ends in what looks like an escaped quote.
    const lists = Buffer.from(`{"image":"\\\\","a":[${'1,'.repeat(kib)}1]}`);
    expect(() => inputsOfContent({ inputs }, lists, kib)).toThrow(
      expect.objectContaining({ code: 'PAYLOAD_TOO_LARGE' }),
    );
  });

  it('is read to the digit up to 8 Mi characters, and beyond where there are no long numbers', () => {
    const inputs = [text('image'), number('n')];
    const most = 8 * 1024 ** 2;
    const read = (n: string, characters: number, among = inputs) => {
      const rest = `{"n":${n},"image":"1234567890123456789"}`;
      const image = 'x'.repeat(characters - rest.length);
      const json = Buffer.from(rest.replace('"}', `${image}"}`));
      const values = inputsOfContent({ inputs: among }, json, kib);
      expect(values['image']).toBe(`1234567890123456789${image}`);
      return values['n'];
    };
    expect(read('9223372036854775807', most)).toBe(2n ** 63n - 1n);
    expect(() => read('9223372036854775807', most + 1)).toThrow(
      expect.objectContaining({
        code: 'PAYLOAD_TOO_LARGE',
        message: `The content has whole numbers of 16 digits and more, and more than ${most} characters.`,
      }),
    );
    for (const n of ['123456789012345', '0.12345678901234567', '1234567890123456789e-2']) {
      expect(read(n, most + 1)).toBe(Number(n));
    }
    // Where the contract has none of 64 bits, a number is the nearest anyway.
    const doubles: ModelField[] = [text('image'), { name: 'n', dtype: 'DT_DOUBLE' }];
    expect(read('9223372036854775807', most + 1, doubles)).toBe(2 ** 63);
  });

  const metadata = [
    { key: 'k', value: 'v' },
    { key: 'k', value: 'w' },
  ];

  it('has its metadata beside it for an input of that name, as text or as maps', () => {
    const asText = [text('image', [1]), text('metadata', [])];
    expect(inputsOfContent({ inputs: asText }, bytes, kib, metadata)).toEqual({
      image: [bytes],
      metadata: '[{"key":"k","value":"v"},{"key":"k","value":"w"}]',
    });
    const subfields = [text('key', []), text('value', [])];
    const asMaps = [{ name: 'metadata', shape: [-1], subfields }, number('n')];
    const inputs = inputsOfContent({ inputs: asMaps }, Buffer.from('{"n":1}'), kib, metadata);
    expect(inputs).toEqual({ n: 1, metadata });
    const message = Buffer.concat(encodeOutputs(tensorsOfPlain(asMaps, inputs)));
    expect(plainOutputs({ outputs: asMaps }, message)).toEqual({ n: 1, metadata });
  });

  it('counts more than its metadata, which goes to no other input', () => {
    const own = Buffer.from('{"n":1,"metadata":"own"}');
    const both = { inputs: [number('n'), text('metadata')] };
    expect(inputsOfContent(both, own, kib, metadata)).toEqual({ n: 1, metadata: 'own' });
    expect(inputsOfContent({ inputs: [text('metadata')] }, bytes, kib, metadata)).toEqual({
      metadata: bytes,
    });
    expect(inputsOfContent({ inputs: [text('image')] }, bytes, kib, metadata)).toEqual({
      image: bytes,
    });
    const asNumber = { inputs: [text('image'), number('metadata')] };
    expect(() => inputsOfContent(asNumber, bytes, kib, metadata)).toThrow('no JSON');
    expect(() => inputsOfContent(both, bytes, kib)).toThrow('no JSON');
  });
});

describe('outputs as content', () => {
  const answer = (outputs: ModelField[], values: object) => {
    const message = Buffer.concat(encodeOutputs(tensorsOfPlain(outputs, values)));
    const content = contentOfOutputs({ outputs }, message);
    expect(contentOfValues(plainOutputs({ outputs }, message))).toEqual(content);
    return content;
  };

  it('are the bytes of one text', () => {
    expect(answer([text('x', [])], { x: bytes })).toEqual(bytes);
    expect(answer([text('x')], { x: [['Grüße']] }).toString()).toBe('Grüße');
    expect(answer([text('x', [-1])], { x: [''] })).toHaveLength(0);
  });

  it('are a JSON object else', () => {
    const json = (outputs: ModelField[], values: object) => answer(outputs, values).toString();
    expect(json([text('x', [2])], { x: ['a', bytes] })).toBe('{"x":["a",{"base64":"AP8B"}]}');
    expect(json([number('x')], { x: 2n ** 62n })).toBe('{"x":"4611686018427387904"}');
    expect(json([text('x'), number('y')], { x: 'a', y: 1 })).toBe('{"x":"a","y":1}');
    expect(json([], {})).toBe('{}');
  });

  it('are refused where they are none', () => {
    for (const outputs of [[text('x')], [number('x')]]) {
      expect(() => contentOfOutputs({ outputs }, Buffer.from([255]))).toThrow(
        expect.objectContaining({ code: 'MODEL_ERROR' }),
      );
    }
  });

  it('are an entry of metadata each', () => {
    expect(metadataOfValues({ label: 'cat', scores: [0.5, NaN], image: bytes })).toEqual([
      { key: 'label', value: 'cat' },
      { key: 'scores', value: '[0.5,"NaN"]' },
      { key: 'image', value: '{"base64":"AP8B"}' },
    ]);
  });
});
