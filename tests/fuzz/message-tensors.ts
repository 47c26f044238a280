import fc from 'fast-check';
import { dataTypes, type DataTypeName } from '@inference-server/contracts';
import { encodeContent, encodeOutputs } from '@inference-server/protos';
import { often } from './often.js';

/** Sound values as they stand in their field, with which a few bytes may stand for many. */
const typed: Partial<Record<DataTypeName, Buffer>> = {
  DT_BOOL: Buffer.of(0x58, 1),
  DT_INT64: Buffer.of(0x50, 7),
  DT_FLOAT: Buffer.of(0x2d, 0, 0, 0x80, 0x3f),
  DT_STRING: part(8, Buffer.from('zq7')),
};
const most = 4_096;

/** Few are large, many make nothing or stand around one value. */
const size = fc.oneof(
  often(12, fc.nat(4)),
  often(2, fc.constantFrom(100, 1_000)),
  fc.constantFrom(100_000, 2 ** 31, Number.MAX_SAFE_INTEGER),
);
const dims: fc.Arbitrary<number[]> = fc.oneof(
  often(8, fc.array(size, { maxLength: 5 })),
  fc
    .tuple(fc.array(size, { maxLength: 3 }), fc.nat(260), fc.array(size, { maxLength: 2 }))
    .map(([before, ones, after]) => [...before, ...new Array<number>(ones).fill(1), ...after]),
);
const product = (sizes: readonly number[]) => sizes.reduce((all, one) => all * one, 1);

const values = fc
  .tuple(
    dims,
    fc.constantFrom('DT_BOOL', 'DT_INT64', 'DT_FLOAT', 'DT_STRING'),
    fc.nat(3),
    fc.nat(9),
  )
  .map(([shape, dtype, few, way]) => {
    const count = product(shape);
    const bytes = dtype === 'DT_INT64' ? 8 : dtype === 'DT_FLOAT' ? 4 : 1;
    const isWhole = way < 5 && dtype !== 'DT_STRING' && count <= most;
    const content = Buffer.alloc(isWhole ? count * bytes : 0, 1);
    const tensor = Buffer.concat(encodeContent(dataTypes[dtype as DataTypeName], shape, content));
    // As many as the shape has, or fewer: the last stands in all that are left.
    const there = Math.min(way === 9 ? most : few, count);
    const one = typed[dtype as DataTypeName]!;
    return isWhole ? tensor : Buffer.concat([tensor, ...new Array<Buffer>(there).fill(one)]);
  });

const { tensor } = fc.letrec<{ tensor: Buffer; maps: Buffer }>((tie) => ({
  tensor: fc.oneof({ maxDepth: 4 }, often(3, values), tie('maps')),
  maps: fc
    .tuple(
      fc.oneof(often(3, fc.constant([2])), dims),
      fc.array(map(tie('tensor')), { maxLength: 3 }),
    )
    .map(([shape, maps]) =>
      Buffer.concat([
        ...encodeContent(dataTypes.DT_MAP, shape, Buffer.alloc(0)),
        ...maps.map((one) => part(27, one)),
      ]),
    ),
}));

/** A PredictResponse of tensors of every shape, maps among them, most of which say more than they have. */
export const madeOutputs: fc.Arbitrary<Buffer> = fc
  .array(tensor, { maxLength: 4 })
  .map((tensors) =>
    Buffer.concat(encodeOutputs(new Map(tensors.map((one, n) => ['xtfm'.charAt(n), one])))),
  );

/** Of an InferParameter, each way to say one. */
const parameter = fc
  .tuple(
    fc.constantFrom('priority', 'timeout', 'sequence_id', 'zq7', ''),
    fc.constantFrom(
      '0801',
      '10feffffffffffffffff01',
      '1a037a7137',
      '21000000000000f87f',
      '2801',
      '',
    ),
  )
  .map(([name, value]) =>
    Buffer.concat([part(1, Buffer.from(name)), part(2, Buffer.from(value, 'hex'))]),
  );
const parameters = (field: number) =>
  fc.array(parameter, { maxLength: 3 }).map((all) => all.map((one) => part(field, one)));

const input = fc
  .tuple(
    fc.constantFrom('x', 't', 'f', 'm'),
    fc.constantFrom('BOOL', 'INT64', 'FP32', 'BYTES', 'zq7'),
    ...([dims, parameters(4), fc.boolean()] as const),
  )
  .map(([name, datatype, shape, hints, isRaw]) => {
    const count = product(shape);
    const bytes = datatype === 'BOOL' ? 1 : datatype === 'FP32' ? 4 : datatype === 'INT64' ? 8 : 0;
    const raw = Buffer.alloc(count <= most ? count * bytes : 0, 1);
    const head = [name, datatype].map((text, n) => part(n + 1, Buffer.from(text)));
    const sizes = part(3, Buffer.concat(shape.map(varint)));
    return { input: Buffer.concat([...head, sizes, ...hints]), raw: isRaw ? raw : undefined };
  });

/** A ModelInferRequest with parameters wherever there may be some, and shapes that its values are fewer than. */
export const madeInferRequest: fc.Arbitrary<Buffer> = fc
  .tuple(fc.array(input, { maxLength: 3 }), parameters(4), parameters(2))
  .map(([inputs, ofRequest, ofOutput]) => {
    const raws = inputs.flatMap(({ raw }) => (raw === undefined ? [] : [part(7, raw)]));
    const output = part(6, Buffer.concat([part(1, Buffer.from('x')), ...ofOutput]));
    const heads = inputs.map((one) => part(5, one.input));
    return Buffer.concat([part(1, Buffer.from('zq7')), ...ofRequest, ...heads, output, ...raws]);
  });

/** Entries of a map of tensors, by names that may come again. */
function map(of: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  const entry = fc
    .tuple(fc.constantFrom('key', 'value', '__proto__'), of)
    .map(([name, one]) => part(1, Buffer.concat([part(1, Buffer.from(name)), part(2, one)])));
  return fc.array(entry, { maxLength: 3 }).map((entries) => Buffer.concat(entries));
}

/** A field of its own length. */
function part(field: number, bytes: Buffer): Buffer {
  return Buffer.concat([varint(field * 8 + 2), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let left = value;
  for (; left > 0x7f; left = Math.floor(left / 128)) bytes.push((left % 128) | 0x80);
  return Buffer.of(...bytes, left);
}
