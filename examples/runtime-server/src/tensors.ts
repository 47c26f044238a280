import { dataTypes } from '@inference-server/contracts';
import { encodeContent, encodeStrings } from '@inference-server/protos';

/** DT_FLOAT. */
export function floatTensor(dims: number[], values: readonly number[]): Buffer {
  const content = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => content.writeFloatLE(value, 4 * index));
  return Buffer.concat(encodeContent(dataTypes.DT_FLOAT, dims, content));
}

/** DT_INT32. */
export function integerTensor(dims: number[], values: readonly number[]): Buffer {
  const content = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => content.writeInt32LE(value, 4 * index));
  return Buffer.concat(encodeContent(dataTypes.DT_INT32, dims, content));
}

/** DT_STRING. */
export function textTensor(dims: number[], texts: readonly string[]): Buffer {
  return encodeStrings(
    dims,
    texts.map((text) => Buffer.from(text, 'utf8')),
  );
}
