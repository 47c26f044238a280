import { dataTypes } from '@inference-server/contracts';
import { badTensor, dimsOf, filledTooMuch, maxFilledBytes, stringsIn } from './tensor-content.js';
import type { TensorOutline } from './tensor-outline.js';

/** What tensors become as plain values, each map in a list being one too; and the bytes of the text in them. */
interface ToldSize {
  values: number;
  textBytes: number;
  /** What of it no bytes came for: where values are fewer than places, the last one stands in all that are left. */
  filled: Filled;
}

interface Filled {
  values: number;
  textBytes: number;
  /** Lists with nothing in them, which a shape says. */
  lists: number;
}

/** Of a message: more is nobody's. */
const maxEmptyLists = 1_000_000;

/**
 * Counted before anything is made of them: a few bytes may say that a value stands in millions of places, or a map
 * of which each value does so, and so on. Throws MALFORMED_REQUEST where text, or lists of nothing, would grow out of all bounds.
 */
export function toldSize(tensors: ReadonlyMap<string, TensorOutline>): ToldSize {
  const size = sizeOfAll(tensors);
  const { textBytes, lists } = size.filled;
  if (textBytes > maxFilledBytes) throw filledTooMuch();
  if (lists > maxEmptyLists) throw badTensor('has too many empty lists');
  return size;
}

function sizeOfAll(tensors: ReadonlyMap<string, TensorOutline>): ToldSize {
  const size = nothing();
  for (const tensor of tensors.values()) add(size, sizeOf(tensor));
  return size;
}

function sizeOf(tensor: TensorOutline): ToldSize {
  const { dtype, bytes, hasContent, subtensors = [] } = tensor;
  const isText = dtype === dataTypes.DT_STRING;
  const there = tensor.elements ?? (isText ? 1 : bytes.byteLength);
  const places = dimsOf(tensor)?.reduce((product, length) => product * length, 1) ?? there;
  // Nothing could be counted with these, be it because one of them is no number.
  if (places !== there && !Number.isSafeInteger(places)) throw filledTooMuch();
  const left = !hasContent && there > 0 ? Math.max(places - there, 0) : 0;
  const size = nothing();
  size.filled.lists = places === 0 ? listsIn(tensor) : 0;
  if (dtype === dataTypes.DT_MAP) {
    const maps = subtensors.map(sizeOfAll);
    for (const map of maps) {
      map.values += 1;
      add(size, map);
    }
    fill(size, lastOf(maps), left);
  } else {
    const last = isText && left > 0 ? stringsIn(tensor).at(-1) : undefined;
    size.values = places - left;
    size.textBytes = isText ? bytes.byteLength : 0;
    fill(size, { values: 1, textBytes: last?.byteLength ?? 0, lists: 0 }, left);
  }
  return size;
}

function nothing(): ToldSize {
  return { values: 0, textBytes: 0, filled: { values: 0, textBytes: 0, lists: 0 } };
}

/** What the last map has in all stands in each place that is left. */
function lastOf(maps: readonly ToldSize[]): Filled {
  const { values, textBytes, filled } = maps.at(-1) ?? nothing();
  return { values, textBytes, lists: filled.lists };
}

/** Lists that say to be long and have nothing in them: all of a shape but its last. */
function listsIn(tensor: TensorOutline): number {
  const [, ...outer] = [...(dimsOf(tensor) ?? [])].reverse();
  return outer.reduce((product, length) => product * Math.max(length, 1), 1);
}

function fill(size: ToldSize, { values, textBytes, lists }: Filled, times: number): void {
  const filled = { values: values * times, textBytes: textBytes * times, lists: lists * times };
  add(size, { ...filled, filled });
}

function add(size: ToldSize, { values, textBytes, filled }: ToldSize): void {
  size.values += values;
  size.textBytes += textBytes;
  size.filled.values += filled.values;
  size.filled.textBytes += filled.textBytes;
  size.filled.lists += filled.lists;
}
