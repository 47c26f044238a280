import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';
import { dataTypes } from '@inference-server/contracts';
import {
  batchInputOf,
  encodeOutputs,
  inputsOfContent,
  outlinePredictResponse,
  plainOutputs,
  readBatchOutput,
  tensorsOfValues,
  valuesOfJson,
  valuesOfTensors,
  withFiles,
} from '../src/index.js';

const failing = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) as string }) as Error;

describe('a document without a contract', () => {
  it('keeps every digit, and has bytes', () => {
    const body =
      '{"n": [9007199254740993, -1, 1.5], "b": {"base64": "/w=="}, "t": {"base64": "%"}}';
    const values = {
      ...{ n: [9007199254740993n, -1, 1.5], b: Uint8Array.of(0xff), t: { base64: '%' } },
    };
    expect(valuesOfJson(body, 'The body')).toEqual(values);
    expect(inputsOfContent(undefined, Buffer.from(body), 1_024)).toEqual(values);
  });

  it('is told by the name that its door has for it', () => {
    expect(() => valuesOfJson('[]', 'The body')).toThrow(/^The body must be a JSON object/);
    expect(() => valuesOfJson('{', 'The body')).toThrow(/^The body is no JSON/);
    expect(() => inputsOfContent(undefined, Buffer.from('[]'), 1_024)).toThrow(
      /^The content must be/,
    );
  });
});

describe('inputs.json', () => {
  it('has numbers with their digits, and names files where bytes are', () => {
    const bytes = Uint8Array.of(1, 0xff);
    const { document, files } = batchInputOf(
      { n: 2n ** 64n, x: NaN, image: bytes, at: [{ deep: bytes }], '../etc': bytes, none: null },
      1_000,
    );
    expect(document.toString()).toBe(
      '{"n":18446744073709551616,"x":"NaN","image":{"file":"inputs/image"},' +
        '"at":[{"deep":{"file":"inputs/at/0/deep"}}],"../etc":{"file":"inputs/@2"},"none":null}',
    );
    expect([...files.keys()]).toEqual(['inputs/image', 'inputs/at/0/deep', 'inputs/@2']);
    expect(files.get('inputs/image')).toBe(bytes);
  });

  it('names no file that the caller would have it name', () => {
    const named = { at: [{ file: '/model/weights' }] };
    expect(() => batchInputOf(named, 1_000)).toThrow(failing('VALIDATION_FAILED', /"file"/));
    const more = { file: 'a', at: { file: 'a', x: 1 }, one: { file: 1 } };
    expect(batchInputOf(more, 1_000).document.toString()).toBe(JSON.stringify(more));
  });

  it('is bounded, in its size and its depth', () => {
    const large = () => batchInputOf({ t: 'a'.repeat(1_000) }, 1_000);
    expect(large).toThrow(failing('PAYLOAD_TOO_LARGE', /too large/));
    let deep: unknown = 1;
    for (let n = 0; n < 100_000; n += 1) deep = [deep];
    expect(() => batchInputOf({ deep }, 1e9)).toThrow(failing('VALIDATION_FAILED', /too deep/));
  });
});

describe('outputs.json', () => {
  it('is read to the digit up to 8 Mi characters', () => {
    const most = 8 * 1024 ** 2;
    const document = (n: string, characters: number) =>
      Buffer.from(`{"n":${n}}`.padEnd(characters));
    const read = (n: string, characters: number, areTensors: boolean) =>
      readBatchOutput(document(n, characters), areTensors).values['n'];
    expect(read('9007199254740993', most, false)).toBe(2n ** 53n + 1n);
    expect(read('1', most, true)).toBe(1);
    expect(read('1', most + 1, false)).toBe(1);
    const tooLong = failing('MODEL_ERROR', /more than 8388608 characters/);
    expect(() => read('9007199254740993', most + 1, false)).toThrow(tooLong);
    expect(() => read('1', most + 1, true)).toThrow(tooLong);
  });

  const read = (text: string, files: Record<string, Buffer> = {}, areTensors = false) => {
    const output = readBatchOutput(Buffer.from(text), areTensors);
    expect([...output.files.keys()]).toEqual(Object.keys(files));
    return withFiles(output, new Map(Object.entries(files)));
  };

  it('is read to its last digit, with the bytes of its files', () => {
    const text = '{"n": 9007199254740993, "b": [{"file": "outputs/a"}], "other": {"file": "/etc"}}';
    expect(read(text, { 'outputs/a': Buffer.from('a') })).toEqual({
      ...{ n: 9007199254740993n, b: [Uint8Array.of(97)], other: { file: '/etc' } },
    });
  });

  it('is told to be none by what is wrong with it', () => {
    for (const text of ['{"a": NaN}', '{"a": 1, "a": 2}', '[]', '"', '\u0000']) {
      expect(() => read(text)).toThrow(failing('MODEL_ERROR', /outputs\.json is n/));
    }
  });

  it('becomes tensors, by how its values are written', () => {
    const text =
      '{"i": [1, -2], "d": [[1.0], [2]], "large": 1e300, "t": ["a", {"base64": "/w=="}],' +
      '"yes": true, "none": [], "m": [{"a": 1}, {"b": "x"}], "long": 9223372036854775807}';
    const message = Buffer.concat(encodeOutputs(tensorsOfValues(read(text, {}, true))));
    const { outputs } = outlinePredictResponse(message);
    const dtypes = [...outputs].map(([name, { dtype }]) => [name, dtype]);
    expect(Object.fromEntries(dtypes)).toEqual({
      ...{ i: dataTypes.DT_INT64, d: dataTypes.DT_DOUBLE, large: dataTypes.DT_DOUBLE },
      ...{ t: dataTypes.DT_STRING, yes: dataTypes.DT_BOOL, none: dataTypes.DT_DOUBLE },
      ...{ m: dataTypes.DT_MAP, long: dataTypes.DT_INT64 },
    });
    const values = {
      ...{ i: [1, -2], d: [[1], [2]], large: 1e300, t: ['a', Uint8Array.of(0xff)], yes: true },
      ...{ none: [], m: [{ a: 1 }, { b: 'x' }], long: 2n ** 63n - 1n },
    };
    expect(plainOutputs({ outputs: [] }, message)).toEqual(values);
    expect(valuesOfTensors(outputs)).toEqual(values);
  });

  it.each(['null', '[1, "a"]', '[[1], [1, 2]]', '[[1], 2]', '9223372036854775808', '{"a": null}'])(
    'is no tensor: %s',
    (value) => {
      const values = read(`{"good": 1, "bad": ${value}}`, {}, true);
      expect(() => tensorsOfValues(values)).toThrow(failing('MODEL_ERROR', /"bad" is no tensor/));
    },
  );
});

/** A TensorProto of one value that says that it stands in so many places. */
function filled(places: number | number[], dtype: number, value: Buffer): Buffer {
  const shape = new BinaryWriter();
  for (const length of [places].flat()) {
    const size = new BinaryWriter().tag(1, WireType.Varint).int64(length).finish();
    shape.tag(2, WireType.LengthDelimited).bytes(size);
  }
  const tensor = new BinaryWriter().tag(1, WireType.Varint).int32(dtype);
  tensor.tag(2, WireType.LengthDelimited).bytes(shape.finish());
  return Buffer.concat([tensor.finish(), value]);
}

const textOf = (text: string) =>
  Buffer.from(new BinaryWriter().tag(8, WireType.LengthDelimited).string(text).finish());

/** The map_val of a TensorProto: a map of tensors. */
function mapOf(...tensors: Buffer[]): Buffer {
  const map = new BinaryWriter();
  tensors.forEach((tensor, n) => {
    const entry = new BinaryWriter().tag(1, WireType.LengthDelimited).string('abc'.charAt(n));
    entry.tag(2, WireType.LengthDelimited).bytes(tensor);
    map.tag(1, WireType.LengthDelimited).bytes(entry.finish());
  });
  return Buffer.from(
    new BinaryWriter().tag(27, WireType.LengthDelimited).bytes(map.finish()).finish(),
  );
}

describe('a value that stands in many places', () => {
  const messageOf = (tensor: Buffer) => Buffer.concat(encodeOutputs(new Map([['x', tensor]])));
  const tensorsOf = (tensor: Buffer) => outlinePredictResponse(messageOf(tensor)).outputs;
  const { DT_STRING, DT_MAP, DT_INT64 } = dataTypes;

  it('is told in each', () => {
    const maps = filled(2, DT_MAP, mapOf(filled(3, DT_STRING, textOf('ab'))));
    const values = { x: [{ a: ['ab', 'ab', 'ab'] }, { a: ['ab', 'ab', 'ab'] }] };
    expect(valuesOfTensors(tensorsOf(maps))).toEqual(values);
    expect(plainOutputs({ outputs: [] }, messageOf(maps))).toEqual(values);
  });

  it.each([
    ['text', filled(1_900_000, DT_STRING, textOf('a'.repeat(100)))],
    [
      'several texts',
      filled(
        1,
        DT_MAP,
        mapOf(
          filled(800_000, DT_STRING, textOf('a'.repeat(50))),
          filled(800_000, DT_STRING, textOf('b'.repeat(50))),
        ),
      ),
    ],
    [
      'text in maps',
      filled(1_000, DT_MAP, mapOf(filled(1_000, DT_STRING, textOf('a'.repeat(100))))),
    ],
    [
      'maps in maps',
      filled(
        1_000,
        DT_MAP,
        mapOf(filled(1_000, DT_MAP, mapOf(filled(1_000, DT_STRING, textOf(''))))),
      ),
    ],
    [
      'no number of places',
      filled([2 ** 50, 2 ** 50], DT_MAP, mapOf(filled(1, DT_INT64, Buffer.of(0x50, 1)))),
    ],
  ])('is refused where it would take too much: %s', (_what, tensor) => {
    const tooMuch = /too much room|more than 2000000 values/;
    const bounded = expect.objectContaining({
      code: expect.stringMatching(/^(?:MALFORMED_REQUEST|PAYLOAD_TOO_LARGE)$/) as string,
      message: expect.stringMatching(tooMuch) as string,
    }) as Error;
    expect(() => valuesOfTensors(tensorsOf(tensor))).toThrow(bounded);
    expect(() => plainOutputs({ outputs: [] }, messageOf(tensor))).toThrow(
      failing('MODEL_ERROR', tooMuch),
    );
  });
});

it('text with a zero byte in it is bytes for a batch model, as all that is no text', () => {
  const zeros = Buffer.alloc(5);
  const message = Buffer.concat(encodeOutputs(tensorsOfValues({ t: 'a', z: zeros })));
  const { outputs } = outlinePredictResponse(message);
  expect(valuesOfTensors(outputs)).toEqual({ t: 'a', z: new Uint8Array(5) });
  expect(plainOutputs({ outputs: [] }, message)).toEqual({ t: 'a', z: zeros.toString() });
});

it('more bytes than a zip has room for are refused before a zip is made of them', () => {
  const ones = Array.from({ length: 50_000 }, () => Uint8Array.of(1));
  expect(() => batchInputOf({ ones }, 1e9)).toThrow(failing('PAYLOAD_TOO_LARGE', /49999 values/));
});

it('tensors of more values than can be told one by one are refused before they are', () => {
  const ones = tensorsOfValues({ x: [1] }).get('x') ?? Buffer.alloc(0);
  // Said to stand in 2,500,000 places more.
  const shape = Buffer.from([0x12, 7, 0x12, 5, 0x08, 0xa0, 0xcb, 0x98, 0x01]);
  const message = Buffer.concat(encodeOutputs(new Map([['x', Buffer.concat([ones, shape])]])));
  const told = () => valuesOfTensors(outlinePredictResponse(message).outputs);
  expect(told).toThrow(failing('PAYLOAD_TOO_LARGE', /as bytes/));
});
