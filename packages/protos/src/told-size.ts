import { dataTypes } from '@inference-server/contracts';
import { dimsOf, filledTooMuch, maxFilledBytes, stringsIn } from './tensor-content.js';
import type { TensorOutline } from './tensor-outline.js';

/** What tensors become as plain values, each map being one too. */
export interface ToldSize {
  values: number;
  /** Those of them that no bytes came for: where values are fewer than places, the last one stands in all that are left. */
  filled: number;
  /** Of the text in all of them. */
  textBytes: number;
}

/**
 * Counted before anything is made of them: a few bytes may say that a value stands in millions of places, or a map
 * of which each value does so, and so on. Throws MALFORMED_REQUEST where text would grow out of all bounds.
 */
export function toldSize(tensors: ReadonlyMap<string, TensorOutline>): ToldSize {
  const size: ToldSize = { values: 0, filled: 0, textBytes: 0 };
  for (const tensor of tensors.values()) add(size, sizeOf(tensor));
  return size;
}

function sizeOf(tensor: TensorOutline): ToldSize {
  const { dtype, bytes, hasContent, subtensors = [] } = tensor;
  const isText = dtype === dataTypes.DT_STRING;
  const there = tensor.elements ?? (isText ? 1 : bytes.byteLength);
  const places = dimsOf(tensor)?.reduce((product, length) => product * length, 1);
  // Nothing could be counted with these, be it because one of them is no number.
  if (places !== undefined && !Number.isSafeInteger(places)) throw filledTooMuch();
  const wanted = places ?? there;
  const left = !hasContent && there > 0 && wanted > there ? wanted - there : 0;
  const size: ToldSize = { values: 0, filled: 0, textBytes: 0 };
  if (dtype === dataTypes.DT_MAP) {
    const sizes = subtensors.map(mapSize);
    for (const one of sizes) add(size, one);
    const last = sizes.at(-1);
    if (last !== undefined) fill(size, last, left);
  } else {
    add(size, { values: wanted, filled: left, textBytes: isText ? bytes.byteLength : 0 });
    const last = isText && left > 0 ? stringsIn(tensor).at(-1) : undefined;
    if (last !== undefined) fill(size, { values: 0, textBytes: last.byteLength }, left);
  }
  return size;
}

function mapSize(tensors: ReadonlyMap<string, TensorOutline>): ToldSize {
  const size = toldSize(tensors);
  return { ...size, values: size.values + 1 };
}

function fill(size: ToldSize, last: Pick<ToldSize, 'values' | 'textBytes'>, times: number): void {
  const textBytes = last.textBytes * times;
  if (textBytes > maxFilledBytes) throw filledTooMuch();
  const values = last.values * times;
  add(size, { values, filled: values, textBytes });
}

function add(size: ToldSize, more: ToldSize): void {
  size.values += more.values;
  size.filled += more.filled;
  size.textBytes += more.textBytes;
}
