import { datatypes, type Datatype } from '../src/nifti/header.js';

export interface NiftiFields {
  size: [number, number, number];
  datatype?: Datatype;
  /** As stored, before scaling; i runs fastest. */
  values: readonly number[];
  littleEndian?: boolean;
  slope?: number;
  intercept?: number;
  /** pixdim[0]: -1 mirrors the third axis of the qform. */
  qfac?: number;
  spacing?: [number, number, number];
  units?: number;
  quaternion?: { code: number; bcd: [number, number, number]; offset: [number, number, number] };
  sform?: { code: number; rows: number[][] };
  /** Bytes between the header and the voxels, after the four that announce them. */
  extension?: Buffer;
}

/** Writes a NIfTI-1 file byte by byte, independent of the code under test but for the type codes. */
export function niftiFile(fields: NiftiFields): Buffer {
  const { size, values, littleEndian = true, datatype = 'int16' } = fields;
  const extension = fields.extension ?? Buffer.alloc(0);
  const { code, bytes: width } = datatypes[datatype];
  const file = Buffer.alloc(352 + extension.length + values.length * width);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const int16 = (at: number, ...numbers: number[]) =>
    numbers.forEach((number, n) => view.setInt16(at + 2 * n, number, littleEndian));
  const float = (at: number, ...numbers: number[]) =>
    numbers.forEach((number, n) => view.setFloat32(at + 4 * n, number, littleEndian));

  view.setInt32(0, 348, littleEndian);
  int16(40, 3, ...size, 1, 1, 1, 1);
  int16(70, code, width * 8);
  float(76, fields.qfac ?? 1, ...(fields.spacing ?? [1, 1, 1]));
  float(108, 352 + extension.length);
  float(112, fields.slope ?? 1, fields.intercept ?? 0);
  view.setUint8(123, fields.units ?? 2);
  if (fields.quaternion !== undefined) {
    int16(252, fields.quaternion.code);
    float(256, ...fields.quaternion.bcd, ...fields.quaternion.offset);
  }
  if (fields.sform !== undefined) {
    int16(254, fields.sform.code);
    float(280, ...fields.sform.rows.flat());
  }
  file.write('n+1\0', 344, 'latin1');
  if (extension.length > 0) view.setUint8(348, 1);
  extension.copy(file, 352);
  values.forEach((value, n) => {
    setValue(view, 352 + extension.length + n * width, datatype, value, littleEndian);
  });
  return file;
}

function setValue(
  view: DataView,
  at: number,
  datatype: Datatype,
  value: number,
  littleEndian: boolean,
): void {
  const setters: Record<Datatype, () => void> = {
    uint8: () => view.setUint8(at, value),
    int8: () => view.setInt8(at, value),
    int16: () => view.setInt16(at, value, littleEndian),
    uint16: () => view.setUint16(at, value, littleEndian),
    int32: () => view.setInt32(at, value, littleEndian),
    uint32: () => view.setUint32(at, value, littleEndian),
    float32: () => view.setFloat32(at, value, littleEndian),
    float64: () => view.setFloat64(at, value, littleEndian),
  };
  setters[datatype]();
}
