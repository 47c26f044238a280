import type { DataTypeName, ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';

export interface OipDatatype {
  /** As the Open Inference Protocol calls it. */
  name: string;
  /** The field of InferTensorContents that its values may stand in. */
  contents?: number;
}

/** Quantised numbers are the whole numbers that they are stored as. */
const datatypes: Partial<Record<DataTypeName, OipDatatype>> = {
  DT_BOOL: { name: 'BOOL', contents: 1 },
  DT_INT8: { name: 'INT8', contents: 2 },
  DT_INT16: { name: 'INT16', contents: 2 },
  DT_INT32: { name: 'INT32', contents: 2 },
  DT_INT64: { name: 'INT64', contents: 3 },
  DT_UINT8: { name: 'UINT8', contents: 4 },
  DT_UINT16: { name: 'UINT16', contents: 4 },
  DT_UINT32: { name: 'UINT32', contents: 4 },
  DT_UINT64: { name: 'UINT64', contents: 5 },
  DT_HALF: { name: 'FP16' },
  DT_BFLOAT16: { name: 'BF16' },
  DT_FLOAT: { name: 'FP32', contents: 6 },
  DT_DOUBLE: { name: 'FP64', contents: 7 },
  DT_STRING: { name: 'BYTES', contents: 8 },
  DT_QINT8: { name: 'INT8', contents: 2 },
  DT_QINT16: { name: 'INT16', contents: 2 },
  DT_QINT32: { name: 'INT32', contents: 2 },
  DT_QUINT8: { name: 'UINT8', contents: 4 },
  DT_QUINT16: { name: 'UINT16', contents: 4 },
};

/** Undefined of maps, complex numbers, and what only a TensorFlow process can hold. */
export function oipDatatype(dtype: DataTypeName | undefined): OipDatatype | undefined {
  return dtype && datatypes[dtype];
}

/** The plain type of this name; undefined: the protocol has none. */
export function dtypeOfOip(name: string): DataTypeName | undefined {
  return (Object.keys(datatypes) as DataTypeName[]).find(
    (dtype) => datatypes[dtype]?.name === name,
  );
}

/** Of a contract's field, or VALIDATION_FAILED with its name. */
export function oipDatatypeOf(field: ModelField, kind: 'input' | 'output'): OipDatatype {
  const { name, dtype = 'DT_MAP' } = field;
  const datatype = oipDatatype(dtype);
  if (datatype !== undefined) return datatype;
  const text = `The ${kind} "${name}" is of the type ${dtype}, for which the Open Inference Protocol has none.`;
  throw new AppError('VALIDATION_FAILED', text, { extensions: { parameter: name } });
}
