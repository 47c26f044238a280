import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { expect, it } from 'vitest';
import { dataTypes, type ModelField } from '@inference-server/contracts';
import {
  encodeContent,
  encodeOutputs,
  jsonFromPredictResponse,
  outlinePredictResponse,
  plainOutputs,
  valuesOfTensors,
} from '../src/index.js';

const { DT_BOOL, DT_MAP } = dataTypes;
const tooMany = /too many lists in lists/;

const tensor = (dims: number[], dtype: number = DT_BOOL, content = Buffer.alloc(0)) =>
  Buffer.concat(encodeContent(dtype, dims, content));
const empty = tensor([1_000, 1_000, 0]);
const messageOf = (...tensors: Buffer[]) =>
  Buffer.concat(encodeOutputs(new Map(tensors.map((one, n) => [`x${n}`, one]))));

/** A DT_MAP of so many maps, each with one tensor. */
const mapsOf = (places: number, maps: readonly Buffer[]) =>
  mapsOfEach(
    places,
    maps.map((one) => ({ a: one })),
  );

function mapsOfEach(places: number, maps: readonly Record<string, Buffer>[]): Buffer {
  const values = maps.map((tensors) => {
    const map = new BinaryWriter();
    for (const [name, one] of Object.entries(tensors)) {
      const entry = new BinaryWriter().tag(1, WireType.LengthDelimited).string(name);
      entry.tag(2, WireType.LengthDelimited).bytes(one);
      map.tag(1, WireType.LengthDelimited).bytes(entry.finish());
    }
    return new BinaryWriter().tag(27, WireType.LengthDelimited).bytes(map.finish()).finish();
  });
  return Buffer.concat([tensor([places], DT_MAP), ...values]);
}

function manyOf(one: Buffer): [name: string, tensor: Buffer][] {
  return Array.from({ length: 3 }, (_, n) => [`n${n}`, one]);
}

it.each<[string, Buffer]>([
  ['with nothing in them', messageOf(tensor([2_000, 2_001, 0]))],
  ['of several tensors', messageOf(empty, empty, empty, empty)],
  ['of several maps', messageOf(mapsOf(4, [empty, empty, empty, empty]))],
  ['of a map that stands in many places', messageOf(mapsOf(4, [empty]))],
  ['of maps in maps', messageOf(mapsOf(2, [mapsOf(2, [empty])]))],
  [
    'of a map of empty lists that stands in many places',
    messageOf(mapsOfEach(1_999_999, [Object.fromEntries(manyOf(tensor([0])))])),
  ],
  [
    'of a map of lists without a shape that stands in many places',
    messageOf(mapsOfEach(1_999_999, [Object.fromEntries(manyOf(Buffer.of(8, DT_BOOL)))])),
  ],
  [
    'around each value',
    messageOf(
      tensor([100_000, ...new Array<number>(41).fill(1)], DT_BOOL, Buffer.alloc(100_000, 1)),
    ),
  ],
  [
    'more than can be counted, after others',
    messageOf(empty, tensor([...new Array<number>(19).fill(2 ** 53 - 1), 2 ** 16, 1, 1, 0])),
  ],
])('millions of lists in lists are not made of a few bytes: %s', (_, message) => {
  const { outputs } = outlinePredictResponse(message);
  expect(() => valuesOfTensors(outputs)).toThrow(tooMany);
  expect(() => plainOutputs({ outputs: [] }, message)).toThrow(tooMany);
  expect(() => jsonFromPredictResponse({ outputs: [] }, message)).toThrow(tooMany);
});

it('nor where the contract has the shapes', () => {
  const fields = ['x0', 'x1', 'x2', 'x3'].map((name): ModelField => ({
    name,
    dtype: 'DT_BOOL',
    shape: [1_000, 1_000, 0],
  }));
  const none = Buffer.of(8, DT_BOOL);
  const told = (count: number) =>
    plainOutputs({ outputs: fields }, messageOf(...new Array<Buffer>(count).fill(none)));
  expect(() => told(4)).toThrow(tooMany);
  expect(told(1)['x0']).toHaveLength(1_000);
});

it('a shape of nothing is told, whatever stands behind its 0', () => {
  const dims = [0, 2 ** 53 - 1, 2 ** 53 - 1, 3];
  const message = messageOf(tensor(dims), tensor([2, 0, 1_080, 1_920]), tensor([2, 3, 0]));
  const values = { x0: [], x1: [[], []], x2: new Array<unknown>(2).fill([[], [], []]) };
  expect(plainOutputs({ outputs: [] }, message)).toEqual(values);
  expect(valuesOfTensors(outlinePredictResponse(message).outputs)).toEqual(values);
});

it('names that stand in many places count as text does', () => {
  const named = { ['n'.repeat(1_000)]: tensor([], DT_BOOL, Buffer.of(1)) };
  const message = messageOf(mapsOfEach(1_999_999, [named]));
  expect(() => plainOutputs({ outputs: [] }, message)).toThrow(/too much room/);
});
