import fc from 'fast-check';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import {
  contractViolation,
  encodeContent,
  encodeInputs,
  encodeModelSpec,
  encodeStrings,
  outlinePredictRequest,
} from '../src/index.js';

const floats = (dims: number[], ...values: number[]) =>
  Buffer.concat(encodeContent(1, dims, Buffer.from(new Float32Array(values).buffer)));
const request = (tensors: Record<string, Buffer>) =>
  Buffer.concat([
    encodeModelSpec({ name: 'm', version: 3n }),
    ...encodeInputs(new Map(Object.entries(tensors))),
  ]);
const unknown = Buffer.from([0x98, 0x06, 0x01, 0xa2, 0x06, 0x02, 0x61, 0x62]);

const codeOf = (act: () => unknown) => {
  try {
    act();
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
  return 'accepted';
};

describe('the outline of a request', () => {
  it('tells the model and what each tensor is, without copying', () => {
    const bytes = request({ x: floats([2], 1, 2), name: encodeStrings([1], [Buffer.from('a')]) });
    const { modelSpec, inputs } = outlinePredictRequest(bytes);
    expect(modelSpec).toEqual({ name: 'm', version: 3n, signatureName: '' });
    expect([...inputs.keys()]).toEqual(['x', 'name']);
    const x = inputs.get('x')!;
    expect(x).toMatchObject({ dtype: 1, elements: 2, shape: { dims: [2n], unknownRank: false } });
    expect(x.bytes.buffer).toBe(bytes.buffer);
    expect(inputs.get('name')).toMatchObject({ dtype: 7, elements: 1 });
  });

  it('has everything but model_spec, wherever it stands, in the rest', () => {
    const spec = encodeModelSpec({ name: 'm', signatureName: 's' });
    const [x, y] = [{ x: floats([], 1) }, { y: floats([], 2) }].map((tensors) =>
      Buffer.concat(encodeInputs(new Map(Object.entries(tensors)))),
    );
    const bytes = Buffer.concat([x!, spec, unknown, y!, encodeModelSpec({ name: 'n' })]);
    const { modelSpec, rest } = outlinePredictRequest(bytes);
    expect(modelSpec).toEqual({ name: 'n', version: undefined, signatureName: 's' });
    expect(Buffer.concat(rest)).toEqual(Buffer.concat([x!, unknown, y!]));
    expect(rest.every((slice) => slice.buffer === bytes.buffer)).toBe(true);
    expect(Buffer.concat([spec, ...rest])).toHaveLength(bytes.length - 5);
  });

  it('knows one element that fills a shape, and passes unknown fields', () => {
    const fill = new BinaryWriter()
      .raw(floats([2, 3]))
      .tag(5, WireType.Bit32)
      .float(7)
      .raw(unknown);
    const tensors = outlinePredictRequest(request({ x: Buffer.from(fill.finish()) })).inputs;
    expect(tensors.get('x')!.elements).toBe(1);
    expect(
      contractViolation([{ name: 'x', dtype: 'DT_FLOAT', shape: [-1, 3] }], tensors),
    ).toBeUndefined();
  });

  it('counts packed and unpacked numbers together', () => {
    const writer = new BinaryWriter().tag(1, WireType.Varint).int32(9);
    writer.tag(10, WireType.Varint).int64(-1n);
    writer.tag(10, WireType.LengthDelimited).fork().int64(300n).int64(-5n).join();
    const { inputs } = outlinePredictRequest(request({ x: Buffer.from(writer.finish()) }));
    expect(inputs.get('x')!.elements).toBe(3);
  });

  it('takes fields of another wire type for unknown ones', () => {
    const bytes = Buffer.concat([Buffer.from([0x08, 0x01, 0x15, 1, 2, 3, 4]), request({})]);
    expect(outlinePredictRequest(bytes).modelSpec.name).toBe('m');
  });
});

describe('bytes that are no request', () => {
  const nestedMaps = (depth: number): Buffer => {
    let tensor = floats([], 1);
    for (let level = 0; level < depth; level += 1) {
      const entry = Buffer.concat(encodeInputs(new Map([['m', tensor]])));
      entry[0] = 0x0a; // Of a map in a tensor: field 1.
      const map = new BinaryWriter().tag(1, WireType.Varint).int32(27);
      tensor = Buffer.from(map.tag(27, WireType.LengthDelimited).bytes(entry).finish());
    }
    return tensor;
  };
  const fields = (...bytes: number[]) => Buffer.from(bytes);

  it.each<[string, Buffer]>([
    ['a length beyond the end', fields(0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 1)],
    ['a tag without a value', fields(0x12)],
    ['a varint without an end', fields(0x18, ...new Array<number>(20).fill(0xff))],
    ['the field 0', fields(0x00, 0x01)],
    ['the wire type 7', fields(0x17, 0x01)],
    ['groups without an end', Buffer.alloc(1_000_000, 0x1b)],
    ['a name that is no UTF-8', fields(0x12, 4, 0x0a, 2, 0xc3, 0x28)],
    ['maps in maps in maps', request({ x: nestedMaps(40) })],
    ['a fixed number that is cut short', fields(0x1d, 1, 2)],
    ['model_spec in thousands of parts', Buffer.alloc(20_000, Buffer.from([0x0a, 0]))],
    ['a negative version', encodeModelSpec({ name: 'm', version: -1n })],
    ['thousands of dimensions', request({ x: floats(new Array<number>(5_000).fill(1), 1) })],
  ])('are refused: %s', (_, bytes) => {
    expect(codeOf(() => outlinePredictRequest(bytes))).toBe('MALFORMED_REQUEST');
  });

  it('are refused where they would be too many tensors, within a moment', () => {
    const entries = Array.from({ length: 150_000 }, (_, at) => {
      const name = Buffer.from(at.toString(36).padStart(4, '0'));
      return Buffer.concat([fields(0x12, 8, 0x0a, 4), name, fields(0x12, 0)]);
    });
    expect(codeOf(() => outlinePredictRequest(Buffer.concat(entries)))).toBe('MALFORMED_REQUEST');
    const some = Buffer.concat(entries.slice(0, 50_000));
    const { inputs } = outlinePredictRequest(some);
    expect(inputs.size).toBe(50_000);
    const violation = contractViolation([{ name: '0000', dtype: 'DT_FLOAT' }], inputs);
    expect(violation?.detail).toContain('DT_FLOAT');
  });

  const writers: [string, (bytes: number) => Buffer][] = [
    ['strings', (n) => request({ x: Buffer.alloc(n, fields(0x42, 0)) })],
    ['unknown fields', (n) => Buffer.alloc(n, fields(0x18, 1))],
    ['unknown fields of tensors', (n) => request({ x: Buffer.alloc(n, fields(0x18, 1)) })],
    [
      'what stands in a group',
      (n) => Buffer.concat([fields(0x1b), Buffer.alloc(n, fields(0x18, 1)), fields(0x1c)]),
    ],
    [
      'sizes',
      (n) => {
        const dims = Array.from({ length: 200 }, () => Buffer.alloc(n / 200 - 4, fields(0x18, 1)));
        const shape = new BinaryWriter().tag(2, WireType.LengthDelimited).fork();
        for (const dim of dims) shape.tag(2, WireType.LengthDelimited).bytes(dim);
        return request({ x: Buffer.from(shape.join().finish()) });
      },
    ],
  ];
  it.each(writers)('are refused where they have millions of %s, within a moment', (_, of) => {
    const refused = of(64 * 1024 ** 2);
    const made = performance.now();
    expect(() => outlinePredictRequest(refused)).toThrow(/more than 1000000 fields/);
    expect(performance.now() - made).toBeLessThan(3_000);
    expect(codeOf(() => outlinePredictRequest(of(1_600_000)))).toBe('accepted');
  });

  it('are refused, or outlined without harm, whatever they are', () => {
    const sound = request({ x: floats([2], 1, 2), y: nestedMaps(2), z: encodeStrings([0], []) });
    const change = fc.tuple(fc.nat({ max: sound.length - 1 }), fc.nat({ max: 255 }));
    fc.assert(
      fc.property(fc.array(change), fc.nat({ max: sound.length }), (changes, length) => {
        const damaged = Buffer.from(sound.subarray(0, length || sound.length));
        for (const [at, byte] of changes) if (at < damaged.length) damaged[at] = byte;
        expect(codeOf(() => outlinePredictRequest(damaged))).toMatch(/MALFORMED_REQUEST|accepted/);
      }),
      { seed: 8, numRuns: 5_000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const code = codeOf(() => outlinePredictRequest(Buffer.from(bytes)));
        expect(code).toMatch(/MALFORMED_REQUEST|accepted/);
      }),
      { seed: 8, numRuns: 5_000 },
    );
  });
});
