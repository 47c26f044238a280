import { describe, expect, it } from 'vitest';
import type { ModelField } from '@inference-server/contracts';
import {
  encodeContent,
  encodeOutputs,
  encodeStrings,
  jsonFromPredictResponse,
  jsonOfValues,
  outlinePredictRequest,
  plainOutputs,
  predictRequestFromJson,
  tensorsOfPlain,
} from '../src/index.js';

const field = (dtype: ModelField['dtype'], shape?: number[]): ModelField => ({
  name: 'x',
  dtype,
  ...(shape && { shape }),
});
/** What a model that gives back what it gets would answer. */
const answerTo = (fields: ModelField[], values: unknown) =>
  Buffer.concat(encodeOutputs(tensorsOfPlain(fields, values)));
const echoed = (of: ModelField, value: unknown) =>
  plainOutputs({ outputs: [of] }, answerTo([of], { x: value }))['x'];

describe('values that have a form for all', () => {
  it.each<[string, ModelField, unknown]>([
    ['text', field('DT_STRING', [2]), ['', 'Grüße 🙂']],
    ['bytes', field('DT_STRING', []), new Uint8Array([255, 0])],
    ['bytes in lists', field('DT_STRING', [-1, 1]), [[new Uint8Array([128])], ['a']]],
    ['the least of 64 bits', field('DT_INT64', []), -(2n ** 63n)],
    ['the greatest of 64 bits', field('DT_UINT64', [1]), [2n ** 64n - 1n]],
    ['the greatest safe number', field('DT_INT64'), 2 ** 53 - 1],
    ['one beyond it', field('DT_INT64'), 2n ** 53n],
    ['what is not finite', field('DT_FLOAT', [3]), [NaN, Infinity, -Infinity]],
    ['short ones that are not finite', field('DT_HALF', [3]), [NaN, Infinity, -Infinity]],
    ['-0', field('DT_DOUBLE', []), -0],
    [
      'pairs',
      field('DT_COMPLEX128', [2]),
      [
        [1, NaN],
        [-Infinity, 0.5],
      ],
    ],
    ['maps', { name: 'x', shape: [-1], subfields: [field('DT_INT64', [])] }, [{ x: 2n ** 60n }]],
  ])('come back as they were: %s', (_, of, value) => {
    expect(echoed(of, value)).toEqual(value);
  });

  it('may be bigints of any size that their type holds', () => {
    expect(echoed(field('DT_INT64', []), 5n)).toBe(5);
    expect(echoed(field('DT_UINT8', [2]), [0n, 255n])).toEqual([0, 255]);
    expect(echoed(field('DT_DOUBLE', []), 2n ** 60n)).toBe(2 ** 60);
    for (const value of [256n, -1n, 2n ** 70n]) {
      expect(() => echoed(field('DT_UINT8', []), value)).toThrow('from 0 to 255');
    }
    expect(() => echoed(field('DT_FLOAT', []), 2n ** 200n)).toThrow('in the range of its type');
  });

  it('are still no numbers beyond their type', () => {
    expect(() => echoed(field('DT_FLOAT', []), 1e39)).toThrow('in the range of its type');
    expect(() => echoed(field('DT_INT32', []), Infinity)).toThrow('a whole number');
  });

  it('are a Buffer’s bytes, too', () => {
    expect(echoed(field('DT_STRING', []), Buffer.from('a'))).toBe('a');
    const part = new Uint8Array([1, 254, 3]).subarray(1, 2);
    expect(echoed(field('DT_STRING', []), part)).toEqual(new Uint8Array([254]));
  });

  it('are given by inputs as they are wanted', () => {
    const tensors = tensorsOfPlain([field('DT_STRING', [])], { x: new Uint8Array([255]) });
    const request = predictRequestFromJson(
      { inputs: [field('DT_STRING', [])] },
      '{"x":{"base64":"/w=="}}',
    );
    expect(outlinePredictRequest(request).inputs.get('x')?.bytes).toEqual(tensors.get('x'));
  });

  it('are told in JSON as an answer is', () => {
    const fields: ModelField[] = [
      { name: 'bytes', dtype: 'DT_STRING', shape: [2] },
      { name: 'long', dtype: 'DT_INT64' },
      { name: 'float', dtype: 'DT_FLOAT', shape: [-1] },
      { name: 'pair', dtype: 'DT_COMPLEX64', shape: [] },
    ];
    const message = answerTo(fields, {
      bytes: ['a', new Uint8Array([255])],
      long: 2n ** 62n,
      float: [1.5, NaN, -Infinity],
      pair: [Infinity, 0],
    });
    const values = plainOutputs({ outputs: fields }, message);
    expect(jsonOfValues(values)).toBe(jsonFromPredictResponse({ outputs: fields }, message));
  });
});

describe('an answer that cannot be told', () => {
  it.each<[string, Buffer]>([
    ['no tensor', Buffer.from([0xff])],
    ['a resource', Buffer.concat(encodeContent(20, [], Buffer.alloc(0)))],
    ['one value for 10^12', encodeStrings([1e6, 1e6], [Buffer.from('a')])],
  ])('is the model’s fault: %s', (_, tensor) => {
    const message = Buffer.concat(encodeOutputs(new Map([['x', tensor]])));
    expect(() => plainOutputs({ outputs: [] }, message)).toThrow(
      expect.objectContaining({ code: 'MODEL_ERROR' }),
    );
  });
});
