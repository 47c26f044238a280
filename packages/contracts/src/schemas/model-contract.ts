import Type, { type Static, type TObject } from 'typebox';

/** The numbers of TensorFlow's DataType that a contract can name, by what stands in its JSON. */
export const dataTypes = {
  DT_FLOAT: 1,
  DT_DOUBLE: 2,
  DT_INT32: 3,
  DT_UINT8: 4,
  DT_INT16: 5,
  DT_INT8: 6,
  DT_STRING: 7,
  DT_COMPLEX64: 8,
  DT_INT64: 9,
  DT_BOOL: 10,
  DT_QINT8: 11,
  DT_QUINT8: 12,
  DT_QINT32: 13,
  DT_BFLOAT16: 14,
  DT_QINT16: 15,
  DT_QUINT16: 16,
  DT_UINT16: 17,
  DT_COMPLEX128: 18,
  DT_HALF: 19,
  DT_RESOURCE: 20,
  DT_VARIANT: 21,
  DT_UINT32: 22,
  DT_UINT64: 23,
  DT_MAP: 27,
} as const;
export type DataTypeName = keyof typeof dataTypes;

/** What a field means, for whoever watches a model's inputs. */
export const profiles = {
  NONE: 0,
  CATEGORICAL: 1,
  NOMINAL: 11,
  ORDINAL: 12,
  NUMERICAL: 2,
  CONTINUOUS: 21,
  INTERVAL: 22,
  RATIO: 23,
  IMAGE: 3,
  VIDEO: 4,
  AUDIO: 5,
  TEXT: 6,
} as const;
export type ProfileName = keyof typeof profiles;

const maxFields = 1_000;
const closed = { additionalProperties: false } as const;

/** How deep fields may stand in fields: a map in a map in a map. */
const maxFieldDepth = 4;

/** Written out level by level: what validates and serialises answers need not know of cycles. */
function fieldOf(depth: number): TObject {
  return Type.Object(
    {
      name: Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\u0000-\\u001F\\u007F]+$' }),
      dtype: Type.Optional(Type.Enum(Object.keys(dataTypes) as DataTypeName[])),
      ...(depth > 1 && {
        subfields: Type.Optional(
          Type.Array(fieldOf(depth - 1), { minItems: 1, maxItems: maxFields }),
        ),
      }),
      shape: Type.Optional(
        Type.Array(Type.Integer({ minimum: -1, maximum: Number.MAX_SAFE_INTEGER }), {
          maxItems: 32,
        }),
      ),
      profile: Type.Optional(Type.Enum(Object.keys(profiles) as ProfileName[])),
    },
    closed,
  );
}

/**
 * An input or an output. Either `dtype`, or, of a map, the fields of its values. `shape`: -1 is any size, []
 * is one value; left out: nothing is said of it.
 */
export interface ModelField {
  name: string;
  dtype?: DataTypeName | undefined;
  subfields?: ModelField[] | undefined;
  shape?: number[] | undefined;
  profile?: ProfileName | undefined;
}

/** What a runtime model takes and gives: of /model/contract.protobin, as JSON. */
export const ModelContract = Type.Unsafe<ModelContract>(
  Type.Object(
    {
      signature_name: Type.String({ minLength: 1, maxLength: 200 }),
      inputs: Type.Array(fieldOf(maxFieldDepth), { maxItems: maxFields }),
      outputs: Type.Array(fieldOf(maxFieldDepth), { maxItems: maxFields }),
    },
    closed,
  ),
);
export interface ModelContract {
  signature_name: string;
  inputs: ModelField[];
  outputs: ModelField[];
}

/** How a runtime model is kept: a batch model has these too, and they mean nothing there. */
export const RuntimeSettings = Type.Object({
  min_replicas: Type.Integer({ minimum: 0, description: 'Kept running without any call.' }),
  max_replicas: Type.Integer({ minimum: 1, description: 'Run at most, however many calls come.' }),
  idle_timeout_s: Type.Integer({
    minimum: 1,
    description: 'A replica beyond `min_replicas` that took no call for so long is removed.',
  }),
  target_in_flight: Type.Integer({
    minimum: 1,
    description: 'Calls of a replica at a time: more wait, and start another one.',
  }),
  max_batch_size: Type.Integer({
    minimum: 1,
    description: 'So many rows of different calls go to a replica as one call; 1: each by itself.',
  }),
  max_delay_ms: Type.Integer({
    minimum: 0,
    maximum: 1_000,
    description: 'How long a call waits for others, where calls go together.',
  }),
});
export type RuntimeSettings = Static<typeof RuntimeSettings>;

/** Of a registration that says nothing of them. */
export const usualRuntime: RuntimeSettings = {
  min_replicas: 0,
  max_replicas: 1,
  idle_timeout_s: 300,
  target_in_flight: 8,
  max_batch_size: 1,
  max_delay_ms: 5,
};
