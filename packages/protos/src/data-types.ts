import { dataTypes, type DataTypeName } from '@inference-server/contracts';

/** Values of one size: what one takes in `tensor_content`, and the field that its numbers may stand in. */
export interface FixedType {
  size: number;
  field: number;
  /** How a number of the field is written; a complex number has two of them. */
  wire: 'float' | 'double' | 'varint';
  numbers: 1 | 2;
  /** Of whole numbers that a number of JavaScript holds: the least and the greatest one. */
  range?: readonly [number, number] | 'boolean';
}

/** The bits of HALF and BFLOAT16 are whole numbers in their field. */
const fixedTypes: Partial<Record<DataTypeName, FixedType>> = {
  DT_FLOAT: { size: 4, field: 5, wire: 'float', numbers: 1 },
  DT_DOUBLE: { size: 8, field: 6, wire: 'double', numbers: 1 },
  DT_INT32: varint(4, 7, [-(2 ** 31), 2 ** 31 - 1]),
  DT_UINT8: varint(1, 7, [0, 255]),
  DT_INT16: varint(2, 7, [-32_768, 32_767]),
  DT_INT8: varint(1, 7, [-128, 127]),
  DT_COMPLEX64: { size: 8, field: 9, wire: 'float', numbers: 2 },
  DT_INT64: varint(8, 10),
  DT_BOOL: varint(1, 11, 'boolean'),
  DT_QINT8: varint(1, 7, [-128, 127]),
  DT_QUINT8: varint(1, 7, [0, 255]),
  DT_QINT32: varint(4, 7, [-(2 ** 31), 2 ** 31 - 1]),
  DT_BFLOAT16: varint(2, 13, [0, 65_535]),
  DT_QINT16: varint(2, 7, [-32_768, 32_767]),
  DT_QUINT16: varint(2, 7, [0, 65_535]),
  DT_UINT16: varint(2, 7, [0, 65_535]),
  DT_COMPLEX128: { size: 16, field: 12, wire: 'double', numbers: 2 },
  DT_HALF: varint(2, 13, [0, 65_535]),
  DT_UINT32: varint(4, 16, [0, 2 ** 32 - 1]),
  DT_UINT64: varint(8, 17),
};

const names = new Map(
  Object.entries(dataTypes).map(([name, number]) => [number as number, name as DataTypeName]),
);

/** Undefined of DT_INVALID and of numbers that nobody has given a meaning. */
export function dataTypeName(number: number): DataTypeName | undefined {
  return names.get(number);
}

/** Undefined of text, maps, and what only a TensorFlow process can hold. */
export function fixedType(number: number): FixedType | undefined {
  const name = names.get(number);
  return name === undefined ? undefined : fixedTypes[name];
}

function varint(size: number, field: number, range?: FixedType['range']): FixedType {
  return { size, field, wire: 'varint', numbers: 1, ...(range && { range }) };
}
