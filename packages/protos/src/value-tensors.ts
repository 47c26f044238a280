import { dataTypes } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { elementForm } from './element-forms.js';
import type { NestedLists } from './nested-lists.js';
import { WrittenDouble } from './plain-document.js';
import { beginWriting, contentOfLists, encodeTexts, listsOf, objectOf } from './plain-inputs.js';
import { plainTensors } from './plain-outputs.js';
import { encodeTensors } from './predict-message.js';
import { asValues } from './telling.js';
import { countOfValues, encodeContent, encodeTypeAndShape } from './tensor-content.js';
import type { TensorOutline } from './tensor-outline.js';
import { lengthTag } from './wire.js';

/** Each becomes a value of its own, and several letters of JSON. */
const maxValues = 2_000_000;

/**
 * Tensors as plain values, by nothing but their own types and shapes. Throws MALFORMED_REQUEST of one that is none,
 * and PAYLOAD_TOO_LARGE of more values than are told one by one.
 */
export function valuesOfTensors(
  tensors: ReadonlyMap<string, TensorOutline>,
): Record<string, unknown> {
  if (countOfValues(tensors) > maxValues) {
    const text = `The tensors have more than ${maxValues} values: give such as bytes, in a DT_STRING.`;
    throw new AppError('PAYLOAD_TOO_LARGE', text);
  }
  return plainTensors([], tensors, asValues);
}

/**
 * Plain values as tensors: text and bytes DT_STRING, whole numbers DT_INT64, others DT_DOUBLE, true and false
 * DT_BOOL, objects DT_MAP; lists make shapes, and an empty one is of DT_DOUBLE. Throws MODEL_ERROR with the
 * name of the output that is no tensor.
 */
export function tensorsOfValues(values: Readonly<Record<string, unknown>>): Map<string, Buffer> {
  return new Map(
    Object.entries(values).map(([name, value]) => {
      try {
        return [name, encodeValue(value, name)];
      } catch (cause) {
        if (!(cause instanceof AppError)) throw cause;
        throw new AppError('MODEL_ERROR', `The output "${name}" is no tensor.`, { cause });
      }
    }),
  );
}

type Kind = 'DT_STRING' | 'DT_INT64' | 'DT_DOUBLE' | 'DT_BOOL' | 'DT_MAP';

function encodeValue(value: unknown, name: string): Buffer {
  const { dims, visit } = listsOf({}, value, name, () => false);
  let kind: Kind | undefined;
  const isOneKind = visit((item) => {
    const joined = joinedKind(kind, kindOf(item));
    kind = joined;
    return joined !== undefined;
  });
  if (isOneKind !== undefined) throw new AppError('MODEL_ERROR', 'Its values are of no one type.');
  kind ??= 'DT_DOUBLE';
  const lists: NestedLists = {
    dims,
    visit: (take) => visit((item) => take(item instanceof WrittenDouble ? item.value : item)),
  };
  if (kind === 'DT_STRING') return encodeTexts(dims, lists, name, beginWriting(asValues));
  const form = elementForm(kind);
  if (form !== undefined) {
    const content = contentOfLists(form, lists, name, asValues);
    return Buffer.concat(encodeContent(dataTypes[kind], dims, content));
  }
  const pieces = [encodeTypeAndShape(dataTypes.DT_MAP, dims)];
  lists.visit((item) => {
    const map = Buffer.concat(encodeTensors(1, tensorsOfValues(item as Record<string, unknown>)));
    pieces.push(lengthTag(27, map.byteLength), map);
    return true;
  });
  return Buffer.concat(pieces);
}

function kindOf(value: unknown): Kind | undefined {
  if (typeof value === 'string' || value instanceof Uint8Array) return 'DT_STRING';
  if (typeof value === 'boolean') return 'DT_BOOL';
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) return 'DT_INT64';
  if (typeof value === 'number' || value instanceof WrittenDouble) return 'DT_DOUBLE';
  return objectOf(value) === undefined ? undefined : 'DT_MAP';
}

/** Of whole numbers among others all are. */
function joinedKind(one: Kind | undefined, other: Kind | undefined): Kind | undefined {
  if (one === undefined || one === other) return other;
  const areNumbers = [one, other].every((kind) => kind === 'DT_INT64' || kind === 'DT_DOUBLE');
  return areNumbers ? 'DT_DOUBLE' : undefined;
}
