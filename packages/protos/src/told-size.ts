import { dataTypes } from '@inference-server/contracts';
import { dimsOf, filledTooMuch, maxFilledBytes, stringsIn } from './tensor-content.js';
import type { TensorOutline } from './tensor-outline.js';

/** What tensors become as plain values, each map in a list being one too; and the bytes of text and names in them. */
interface ToldSize {
  values: number;
  textBytes: number;
  /** What of it no bytes came for: where values are fewer than places, the last one stands in all that are left. */
  filled: { values: number; textBytes: number };
}

/**
 * Counted before anything is made of them: a few bytes may say that a value stands in millions of places, or a map
 * of which each value does so, and so on. Throws MALFORMED_REQUEST where text would grow out of all bounds.
 */
export function toldSize(tensors: ReadonlyMap<string, TensorOutline>): ToldSize {
  const size = sizeOfAll(tensors);
  if (size.filled.textBytes > maxFilledBytes) throw filledTooMuch();
  return size;
}

function sizeOfAll(tensors: ReadonlyMap<string, TensorOutline>): ToldSize {
  const size = nothing();
  for (const [name, tensor] of tensors) {
    size.textBytes += name.length;
    add(size, sizeOf(tensor));
  }
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
  if (dtype === dataTypes.DT_MAP) {
    const maps = subtensors.map(sizeOfAll);
    for (const map of maps) {
      map.values += 1;
      add(size, map);
    }
    fill(size, maps.at(-1) ?? nothing(), left);
  } else {
    const last = isText && left > 0 ? stringsIn(tensor).at(-1) : undefined;
    size.values = places - left;
    size.textBytes = isText ? bytes.byteLength : 0;
    fill(size, { values: 1, textBytes: last?.byteLength ?? 0 }, left);
  }
  return size;
}

function nothing(): ToldSize {
  return { values: 0, textBytes: 0, filled: { values: 0, textBytes: 0 } };
}

function fill(size: ToldSize, last: ToldSize['filled'], times: number): void {
  const filled = { values: last.values * times, textBytes: last.textBytes * times };
  add(size, { ...filled, filled });
}

function add(size: ToldSize, { values, textBytes, filled }: ToldSize): void {
  size.values += values;
  size.textBytes += textBytes;
  size.filled.values += filled.values;
  size.filled.textBytes += filled.textBytes;
}
