import type { DataTypeName } from '@inference-server/contracts';
import { bfloat16OfNumber, halfOfNumber, numberOfBfloat16, numberOfHalf } from './short-floats.js';
import type { Telling } from './telling.js';

/** How a value of a fixed-size type stands among plain values and in `tensor_content`. */
export interface ElementForm {
  size: number;
  /** What it has to be, for whoever gave something else. */
  wanted: string;
  schema: object;
  read(view: DataView, at: number, telling: Telling): unknown;
  /** False of what is no such value. A bigint is a whole number that a number may not hold. */
  write(view: DataView, at: number, value: unknown, telling: Telling): boolean;
}

/** From there on the nearest one is infinite: half a step beyond the greatest. */
const infinite = { half: 65_520, bfloat16: 2 ** 128 - 2 ** 119, float: 2 ** 128 - 2 ** 103 };

const float = floating(
  4,
  infinite.float,
  (view, at) => view.getFloat32(at, true),
  (view, at, value) => view.setFloat32(at, value, true),
);
const double = floating(
  8,
  undefined,
  (view, at) => view.getFloat64(at, true),
  (view, at, value) => view.setFloat64(at, value, true),
);

const forms: Partial<Record<DataTypeName, ElementForm>> = {
  DT_FLOAT: float,
  DT_DOUBLE: double,
  DT_COMPLEX64: complex(float),
  DT_COMPLEX128: complex(double),
  DT_HALF: floating(
    2,
    infinite.half,
    (view, at) => numberOfHalf(view.getUint16(at, true)),
    (view, at, value) => view.setUint16(at, halfOfNumber(value), true),
  ),
  DT_BFLOAT16: floating(
    2,
    infinite.bfloat16,
    (view, at) => numberOfBfloat16(view.getUint16(at, true)),
    (view, at, value) => view.setUint16(at, bfloat16OfNumber(value), true),
  ),
  DT_BOOL: {
    size: 1,
    wanted: 'true or false',
    schema: { type: 'boolean' },
    read: (view, at) => view.getUint8(at) !== 0,
    write: (view, at, value) => {
      view.setUint8(at, value === true ? 1 : 0);
      return typeof value === 'boolean';
    },
  },
  DT_INT64: long(-(2n ** 63n), 2n ** 63n - 1n, (view, at) => view.getBigInt64(at, true)),
  DT_UINT64: long(0n, 2n ** 64n - 1n, (view, at) => view.getBigUint64(at, true)),
  DT_INT8: integer(1, true),
  DT_INT16: integer(2, true),
  DT_INT32: integer(4, true),
  DT_UINT8: integer(1, false),
  DT_UINT16: integer(2, false),
  DT_UINT32: integer(4, false),
  DT_QINT8: integer(1, true),
  DT_QINT16: integer(2, true),
  DT_QINT32: integer(4, true),
  DT_QUINT8: integer(1, false),
  DT_QUINT16: integer(2, false),
};

/** Undefined of text, maps, resources and variants. */
export function elementForm(dtype: DataTypeName): ElementForm | undefined {
  return forms[dtype];
}

/** As far as a number can be told by a finite one: what others print of the greatest may be beyond it. */
function floating(
  size: number,
  beyond: number | undefined,
  get: (view: DataView, at: number) => number,
  set: (view: DataView, at: number, value: number) => void,
): ElementForm {
  const notFinite = ['NaN', 'Infinity', '-Infinity'];
  const range =
    beyond === undefined
      ? { minimum: -Number.MAX_VALUE, maximum: Number.MAX_VALUE }
      : { exclusiveMinimum: -beyond, exclusiveMaximum: beyond };
  return {
    size,
    wanted: 'a number in the range of its type, or "NaN", "Infinity" or "-Infinity"',
    schema: { anyOf: [{ type: 'number', ...range }, { enum: notFinite }] },
    read: (view, at, telling) => {
      const value = get(view, at);
      return Number.isFinite(value) ? value : telling.notFinite(value);
    },
    write: (view, at, value, telling) => {
      const isNamed = typeof value === 'string' && notFinite.includes(value);
      if (!isNamed && typeof value !== 'number' && typeof value !== 'bigint') return false;
      set(view, at, Number(value));
      if (Number.isFinite(get(view, at)) || isNamed) return true;
      return telling.takesNotFinite && typeof value === 'number' && !Number.isFinite(value);
    },
  };
}

function integer(size: 1 | 2 | 4, signed: boolean): ElementForm {
  const count = 2 ** (8 * size);
  const [minimum, maximum] = signed ? [-count / 2, count / 2 - 1] : [0, count - 1];
  const read = { 1: 'getUint8', 2: 'getUint16', 4: 'getUint32' } as const;
  const set = { 1: 'setUint8', 2: 'setUint16', 4: 'setUint32' } as const;
  return {
    size,
    wanted: `a whole number from ${minimum} to ${maximum}`,
    schema: { type: 'integer', minimum, maximum },
    read: (view, at) => {
      const value = view[read[size]](at, true);
      return value > maximum ? value - count : value;
    },
    write: (view, at, value) => {
      const number = typeof value === 'bigint' ? Number(value) : value;
      if (typeof number !== 'number' || !Number.isInteger(number)) return false;
      if (number < minimum || number > maximum) return false;
      view[set[size]](at, number, true);
      return true;
    },
  };
}

function long(
  minimum: bigint,
  maximum: bigint,
  get: (view: DataView, at: number) => bigint,
): ElementForm {
  const digits = minimum < 0n ? /^(?:0|-?[1-9][0-9]{0,18})$/ : /^(?:0|[1-9][0-9]{0,19})$/;
  return {
    size: 8,
    wanted: `a whole number from ${minimum} to ${maximum}, or its digits as a string`,
    schema: {
      anyOf: [
        { type: 'integer', minimum: Number(minimum), maximum: Number(maximum) },
        { type: 'string', pattern: digits.source },
      ],
      description: `From ${minimum} to ${maximum}; beyond 2^53 - 1 in size as a string of digits.`,
    },
    read: (view, at, telling) => {
      const value = get(view, at);
      const number = Number(value);
      return Number.isSafeInteger(number) ? number : telling.long(value);
    },
    write: (view, at, value) => {
      const isDigits = typeof value === 'string' && digits.test(value);
      // A number beyond that may have been another one in the text it came in.
      const isExact = typeof value === 'number' && Number.isSafeInteger(value);
      if (!isDigits && !isExact && typeof value !== 'bigint') return false;
      const exact = BigInt(value);
      if (exact < minimum || exact > maximum) return false;
      view.setBigUint64(at, BigInt.asUintN(64, exact), true);
      return true;
    },
  };
}

function complex(part: ElementForm): ElementForm {
  return {
    size: 2 * part.size,
    wanted: `a pair [real, imaginary] of which each is ${part.wanted}`,
    schema: { type: 'array', items: part.schema, minItems: 2, maxItems: 2 },
    read: (view, at, telling) => [
      part.read(view, at, telling),
      part.read(view, at + part.size, telling),
    ],
    write: (view, at, value, telling) =>
      Array.isArray(value) &&
      value.length === 2 &&
      part.write(view, at, value[0], telling) &&
      part.write(view, at + part.size, value[1], telling),
  };
}
