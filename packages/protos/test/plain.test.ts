import { describe, expect, it } from 'vitest';
import type { ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  encodeContent,
  encodeOutputs,
  encodeStrings,
  jsonFromPredictResponse,
  outlinePredictRequest,
  predictRequestFromJson,
  tensorsOfPlain,
} from '../src/index.js';

const field = (dtype: ModelField['dtype'], shape?: number[]): ModelField => ({
  name: 'x',
  dtype,
  ...(shape && { shape }),
});
/** What a model that gives back what it gets would answer. */
const echoed = (fields: ModelField[], json: string) => {
  const request = predictRequestFromJson({ inputs: fields }, json);
  const { inputs } = outlinePredictRequest(request);
  const outputs = new Map([...inputs].map(([name, tensor]) => [name, tensor.bytes]));
  return jsonFromPredictResponse({ outputs: fields }, Buffer.concat(encodeOutputs(outputs)));
};
const refusal = (act: () => unknown) => {
  try {
    act();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error('It was accepted.');
};

describe('plain values', () => {
  it.each<[string, ModelField, string]>([
    ['a scalar', field('DT_FLOAT', []), '1.5'],
    ['one value of no said shape', field('DT_INT32'), '7'],
    ['a list of no said shape', field('DT_INT32'), '[[7],[8]]'],
    ['an empty list', field('DT_DOUBLE', [-1, 3]), '[]'],
    ['a pair', field('DT_COMPLEX64', []), '[1,"-Infinity"]'],
    ['pairs of no said shape', field('DT_COMPLEX128'), '[[1,2],[3,4]]'],
    ['text', field('DT_STRING', [-1]), '["","Grüße 🙂","\\u0000"]'],
    ['bytes', field('DT_STRING', []), '{"base64":"/wA="}'],
    ['the least of 64 bits', field('DT_INT64', []), '"-9223372036854775808"'],
    ['the greatest of 64 bits', field('DT_UINT64', [1]), '["18446744073709551615"]'],
    ['the greatest whole number', field('DT_INT64', []), '9007199254740991'],
    ['not finite ones', field('DT_HALF', [3]), '["NaN","Infinity","-Infinity"]'],
    ['booleans', field('DT_BOOL', [2, 1]), '[[true],[false]]'],
    ['quantised ones', field('DT_QUINT8', [2]), '[0,255]'],
    ['maps', { name: 'x', shape: [-1], subfields: [field('DT_INT8', [])] }, '[{"x":1},{"x":2}]'],
  ])('come back as they were: %s', (_, of, value) => {
    expect(echoed([of], `{"x":${value}}`)).toBe(`{"x":${value}}`);
  });

  it('keep numbers of 64 bits that JSON.parse would change', () => {
    const fields = [field('DT_INT64', [-1]), { name: 'y', dtype: 'DT_DOUBLE' as const }];
    const text = '{"x":[9223372036854775807,-9007199254740993,5,1e3],"y":12345678901234567890}';
    const same =
      '{"x":["9223372036854775807","-9007199254740993",5,1000],"y":12345678901234567000}';
    expect(echoed(fields, text)).toBe(same);
  });

  it.each<[ModelField['dtype'], string, string]>([
    // What others print of their greatest is the nearest of as many digits, which may be beyond.
    ['DT_FLOAT', '3.4028235e38', '3.4028234663852886e+38'],
    ['DT_FLOAT', '-3.4028235677973362e38', '-3.4028234663852886e+38'],
    ['DT_COMPLEX64', '[3.4028235e38,0]', '[3.4028234663852886e+38,0]'],
    ['DT_HALF', '65519', '65504'],
    ['DT_BFLOAT16', '3.39e38', '3.3895313892515355e+38'],
    // A float of these stands right between two of 16 bits; the number does not.
    ['DT_BFLOAT16', '1.0039062500009095', '1.0078125'],
    ['DT_BFLOAT16', '-1.0039062500009095', '-1.0078125'],
    ['DT_BFLOAT16', '1.0117187499990905', '1.0078125'],
    ['DT_BFLOAT16', '1.00390625', '1'],
    ['DT_BFLOAT16', '-1e-60', '0'],
  ])('are the nearest one of %s, up to the greatest: %s', (dtype, given, nearest) => {
    expect(echoed([field(dtype, [])], `{"x":${given}}`)).toBe(`{"x":${nearest}}`);
  });

  it('may be called as everything is in JavaScript', () => {
    const fields = [{ ...field('DT_INT8', []), name: '__proto__' }];
    expect(echoed(fields, '{"__proto__":1}')).toBe('{"__proto__":1}');
  });

  it.each<[string, ModelField, string, string]>([
    ['a list for a value', field('DT_FLOAT', []), '[1]', 'The input "x" must be a number'],
    ['a value for a list', field('DT_FLOAT', [-1]), '1', 'must be a list'],
    [
      'ragged lists',
      field('DT_FLOAT', [-1, -1]),
      '[[1,2],[3]]',
      'The input "x"[1] must be a list of 2',
    ],
    ['ragged lists of no said shape', field('DT_FLOAT'), '[[1],2]', '"x"[1] must be a list'],
    ['another length', field('DT_FLOAT', [2]), '[1]', 'must be a list of 2'],
    ['a text for a number', field('DT_FLOAT', [-1]), '[1,"secret"]', 'The input "x"[1] must be'],
    ['a number beyond a float', field('DT_FLOAT', []), '1e39', 'must be a number'],
    ['a number whose nearest float is none', field('DT_FLOAT', []), '3.4028236e38', 'be a number'],
    ['what would be an infinite float', field('DT_FLOAT', []), String(2 ** 128 - 2 ** 103), 'be a'],
    ['a number beyond a half', field('DT_HALF', []), '65520', 'must be a number'],
    ['a number beyond a bfloat16', field('DT_BFLOAT16', []), '3.4e38', 'must be a number'],
    ['a number beyond any', field('DT_DOUBLE', []), '1e999', 'must be a number'],
    ['a part of a number', field('DT_INT32', []), '1.5', 'a whole number'],
    ['300 for 8 bits', field('DT_UINT8', []), '300', 'from 0 to 255'],
    ['a number beyond 64 bits', field('DT_INT64', []), '9223372036854775808', 'a whole number'],
    ['digits beyond 64 bits', field('DT_UINT64', []), '"18446744073709551616"', 'a whole number'],
    ['a number that was rounded', field('DT_INT64', []), '1e18', 'a whole number'],
    ['0 for false', field('DT_BOOL', []), '0', 'true or false'],
    ['null', field('DT_STRING', []), 'null', 'must be a string'],
    ['bad base64', field('DT_STRING', []), '{"base64":"a"}', 'must be a string'],
    ['half a surrogate pair', field('DT_STRING', []), '"\\ud800"', 'must be a string'],
    ['a resource', field('DT_RESOURCE', []), '1', 'DT_RESOURCE, of which no value'],
    ['a map of which nothing is known', field('DT_MAP', []), '{}', 'DT_MAP, of which no value'],
    ['endless lists', field('DT_FLOAT'), `${'['.repeat(50)}1${']'.repeat(50)}`, 'too deep'],
  ])('are refused with the input’s name: %s', (_, of, value, detail) => {
    const error = refusal(() => predictRequestFromJson({ inputs: [of] }, `{"x":${value}}`));
    expect(error).toMatchObject({ code: 'VALIDATION_FAILED', extensions: { parameter: 'x' } });
    expect(error.message).toContain(detail);
    expect(error.message).not.toContain('secret');
  });

  it('are refused where an input is missing, unknown, or no object', () => {
    const read = (json: string) => () =>
      predictRequestFromJson({ inputs: [field('DT_INT8')] }, json);
    expect(refusal(read('{}')).message).toBe('The input "x" is missing.');
    expect(refusal(read('{"x":1,"secret":2}')).message).not.toContain('secret');
    expect(refusal(read('[1]')).code).toBe('VALIDATION_FAILED');
    expect(refusal(read('{secret')).code).toBe('MALFORMED_REQUEST');
    expect(refusal(read('{secret')).message).not.toContain('secret');
    const deep = '['.repeat(1_000_000);
    expect(refusal(read(`{"x":${deep}`)).code).toBe('MALFORMED_REQUEST');
  });

  it.each([
    '{"x":1,"x":1}',
    '{"x":1,"\\u0078":2}',
    '{"m":[{"a":1},{"a":1,"a":2}],"x":1}',
    '{"x":1234567890123456789,"x":1}',
    '{"t":"\\"}","x":1 , "x"\t:2}',
  ])('are refused where a name stands twice: %s', (json) => {
    const error = refusal(() => predictRequestFromJson({ inputs: [field('DT_INT64')] }, json));
    expect(error).toMatchObject({ code: 'MALFORMED_REQUEST' });
    expect(error.message).toContain('stands twice');
  });

  it('are refused before they are parsed where they are too deep, or too many', () => {
    const read = (of: ModelField, value: string) => () =>
      predictRequestFromJson({ inputs: [of] }, `{"x":${value}}`);
    const deep = `${'{"a":['.repeat(40)}1${']}'.repeat(40)}`;
    const error = refusal(read(field('DT_FLOAT'), deep));
    expect(error).toMatchObject({ code: 'MALFORMED_REQUEST' });
    expect(error.message).toContain('more than 64 deep');
    const names = (count: number) =>
      `{${Array.from({ length: count }, (_, n) => `"${n}":1`).join(',')}}`;
    expect(refusal(read(field('DT_FLOAT'), names(1_000))).message).toContain('must be a number');
    const { code: wide, message: told } = refusal(read(field('DT_FLOAT'), names(1_001)));
    expect([wide, told]).toEqual([
      'VALIDATION_FAILED',
      'The body is not read: an object has more than 1000 names.',
    ]);
    const rows = (count: number) =>
      `[${Array.from({ length: count }, (_, n) => `{"${n}":1,"y":1}`).join(',')}]`;
    const refused = (count: number) => refusal(read(field('DT_FLOAT', [-1]), rows(count)));
    // The field's own name and "y" are among them.
    expect(refused(9_998).message).toContain('must be a number');
    expect(refused(9_999)).toMatchObject({
      code: 'VALIDATION_FAILED',
      message: 'The body is not read: its objects have more than 10000 different names.',
    });
    for (const part of ['[]', '{}', '""']) {
      const many = `[${`${part},`.repeat(2_000_000)}1]`;
      const { code, message } = refusal(read(field('DT_FLOAT', [-1]), many));
      expect([code, message]).toEqual([
        'VALIDATION_FAILED',
        'The body is not read: it has more than 2000000 lists, objects and texts.',
      ]);
    }
  });

  it('are refused where there are more texts than a request may have', () => {
    const some = (count: number) => ({ x: new Array<string>(count).fill(''), y: ['a'] });
    const fields = ['x', 'y'].map((name) => ({ ...field('DT_STRING', [-1]), name }));
    expect(tensorsOfPlain(fields, some(999_999)).get('x')?.length).toBe(2_000_008);
    const error = refusal(() => tensorsOfPlain(fields, some(1_000_000)));
    expect(error.code).toBe('VALIDATION_FAILED');
    expect(error.message).toBe('The inputs have more than 1000000 texts and maps.');
  });

  it('are refused where maps have more values than a request may have', () => {
    const maps: ModelField = { name: 'x', shape: [-1], subfields: [field('DT_INT8', [])] };
    const error = refusal(() =>
      tensorsOfPlain([maps], { x: new Array<unknown>(100_000).fill({ x: 1 }) }),
    );
    expect(error.message).toBe('The inputs have more than 100000 values in maps.');
  });

  it('make no object for each text', () => {
    const texts = { x: new Array<string>(900_000).fill('') };
    const before = process.memoryUsage().heapUsed;
    tensorsOfPlain([field('DT_STRING', [-1])], texts);
    // A buffer of each would be some 200 MiB.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(64 * 1024 ** 2);
  });

  it('may have a name again in another object, and texts that look like names', () => {
    const of = [
      { name: 'x', shape: [-1], subfields: [field('DT_STRING', [])] },
      field('DT_STRING', [2]),
    ].map((one, n) => ({ ...one, name: ['x', 'y'][n]! }));
    const json = '{"x":[{"x":"\\\\"},{"x":"{\\"x\\":1"}],"y":["y","y"]}';
    expect(echoed(of, json)).toBe(json);
  });

  it('may be bytes and bigints where they do not come from JSON', () => {
    const fields = [field('DT_STRING', []), { name: 'n', dtype: 'DT_UINT64' as const }];
    const tensors = tensorsOfPlain(fields, { x: new Uint8Array([255]), n: 2n ** 64n - 1n });
    const answer = jsonFromPredictResponse(
      { outputs: fields },
      Buffer.concat(encodeOutputs(tensors)),
    );
    expect(answer).toBe('{"x":{"base64":"/w=="},"n":"18446744073709551615"}');
  });
});

describe('an answer', () => {
  const answer = (tensor: Buffer, of?: ModelField) =>
    jsonFromPredictResponse(
      { outputs: of === undefined ? [] : [of] },
      Buffer.concat(encodeOutputs(new Map([['x', tensor]]))),
    );
  const without = (tensor: Buffer) => Buffer.concat([tensor.subarray(0, 2), tensor.subarray(4)]);

  it('without a shape is one value, or has the contract’s, or is a list', () => {
    const one = without(Buffer.concat(encodeContent(4, [], Buffer.from([1]))));
    const four = without(Buffer.concat(encodeContent(4, [], Buffer.from([1, 2, 3, 4]))));
    expect(answer(one)).toBe('{"x":1}');
    expect(answer(four)).toBe('{"x":[1,2,3,4]}');
    expect(answer(four, field('DT_UINT8', [-1, 2]))).toBe('{"x":[[1,2],[3,4]]}');
    expect(answer(one, field('DT_UINT8', [-1]))).toBe('{"x":[1]}');
  });

  it('of a scalar output is the plain value, whatever shape its tensor says', () => {
    const tensor = encodeStrings([1], [Buffer.from('setosa')]);
    expect(answer(tensor, field('DT_STRING', []))).toBe('{"x":"setosa"}');
    expect(answer(tensor, field('DT_STRING', [-1]))).toBe('{"x":["setosa"]}');
  });

  it.each<[string, Buffer]>([
    ['one value for 10^12', encodeStrings([1e6, 1e6], [Buffer.from('a')])],
    ['10^12 empty lists', encodeStrings([1e6, 1e6, 0], [])],
    ['too few values', Buffer.concat(encodeContent(4, [3], Buffer.from([1, 2])))],
    ['part of a value', Buffer.concat(encodeContent(3, [1], Buffer.from([1, 2])))],
    ['a size below 0', Buffer.concat(encodeContent(4, [-1], Buffer.from([1])))],
    ['a resource', Buffer.concat(encodeContent(20, [], Buffer.alloc(0)))],
    ['300 in 8 bits', Buffer.from([8, 4, 0x3a, 2, 0xac, 0x02])],
    ['no tensor', Buffer.from([0xff])],
  ])('that cannot be read is the model’s fault: %s', (_, tensor) => {
    expect(refusal(() => answer(tensor)).code).toBe('MODEL_ERROR');
  });

  it('has the last of fewer typed values in every place that is left, as TensorFlow has it', () => {
    const head = (dtype: number) => Buffer.concat(encodeContent(dtype, [2, 2], Buffer.alloc(0)));
    expect(answer(Buffer.concat([head(4), Buffer.from([0x3a, 2, 1, 2])]))).toBe(
      '{"x":[[1,2],[2,2]]}',
    );
    const texts = encodeStrings(
      [2, 2],
      ['a', 'b', 'c'].map((text) => Buffer.from(text)),
    );
    expect(answer(texts)).toBe('{"x":[["a","b"],["c","c"]]}');
  });

  it('may have its texts in tensor_content, as TensorFlow writes them', () => {
    const content = Buffer.from('\u0001\u0002abc', 'latin1');
    expect(answer(Buffer.concat(encodeContent(7, [2], content)))).toBe('{"x":["a","bc"]}');
  });
});
