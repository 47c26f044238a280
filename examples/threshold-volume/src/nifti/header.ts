import { InputError } from '../input-error.js';

/** A NIfTI-1 header is 348 bytes long; four more say whether extensions follow. */
export const headerBytes = 348;
export const singleFileOffset = 352;

/** What a NIfTI-1 header says about its volume, as it stands in the file. */
export interface NiftiHeader {
  /** The 348 bytes themselves. */
  bytes: Buffer;
  littleEndian: boolean;
  /** Voxels along i, j and k. */
  size: [number, number, number];
  datatype: Datatype;
  /** Where the voxels start, in bytes from the start of the file. */
  dataOffset: number;
  /** Stored value × slope + intercept = value; 1 and 0 when the file sets no scaling. */
  scaling: { slope: number; intercept: number };
}

export type Datatype =
  'uint8' | 'int16' | 'int32' | 'float32' | 'float64' | 'int8' | 'uint16' | 'uint32';

/** The scalar types of the standard that a JavaScript number holds without loss. */
export const datatypes: Record<Datatype, { code: number; bytes: number }> = {
  uint8: { code: 2, bytes: 1 },
  int16: { code: 4, bytes: 2 },
  int32: { code: 8, bytes: 4 },
  float32: { code: 16, bytes: 4 },
  float64: { code: 64, bytes: 8 },
  int8: { code: 256, bytes: 1 },
  uint16: { code: 512, bytes: 2 },
  uint32: { code: 768, bytes: 4 },
};

/** One slice is held in memory at a time; this bounds it (128 MiB as float64). */
const maxSliceVoxels = 4096 * 4096;

/** Reads and checks the first 348 bytes of a `.nii` file. Throws {@link InputError}. */
export function parseHeader(bytes: Buffer): NiftiHeader {
  const littleEndian = byteOrder(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes);
  return {
    bytes,
    littleEndian,
    size: volumeSize(view, littleEndian),
    datatype: volumeDatatype(view, littleEndian),
    dataOffset: volumeOffset(view, littleEndian),
    scaling: volumeScaling(view, littleEndian),
  };
}

/** The field `sizeof_hdr` is 348 in the file's own byte order. */
function byteOrder(bytes: Buffer): boolean {
  const magic = bytes.toString('latin1', 344, 347);
  if (magic === 'ni1')
    throw new InputError('is one half of a .hdr/.img pair, not a single .nii file');
  if (bytes.readInt32LE(0) === 540 || bytes.readInt32BE(0) === 540) {
    throw new InputError('is NIfTI-2; only NIfTI-1 is read');
  }
  if (magic === 'n+1' && bytes.readInt32LE(0) === headerBytes) return true;
  if (magic === 'n+1' && bytes.readInt32BE(0) === headerBytes) return false;
  throw new InputError('is not a NIfTI-1 file');
}

function volumeSize(view: DataView, littleEndian: boolean): [number, number, number] {
  const axis = (index: number) => view.getInt16(40 + 2 * index, littleEndian);
  const axes = axis(0);
  if (axes < 3 || axes > 7) throw new InputError(`has ${axes} axes, not three`);
  const [ni, nj, nk] = [axis(1), axis(2), axis(3)];
  if (ni < 1 || nj < 1 || nk < 1) throw new InputError(`has the impossible size ${ni}×${nj}×${nk}`);
  if (ni * nj > maxSliceVoxels) throw new InputError(`has slices of ${ni}×${nj} voxels: too large`);
  for (let index = 4; index <= axes; index += 1) {
    if (axis(index) > 1)
      throw new InputError(`holds ${axis(index)} volumes along axis ${index}, not one`);
  }
  return [ni, nj, nk];
}

function volumeDatatype(view: DataView, littleEndian: boolean): Datatype {
  const code = view.getInt16(70, littleEndian);
  const bits = view.getInt16(72, littleEndian);
  for (const name of Object.keys(datatypes) as Datatype[]) {
    if (datatypes[name].code !== code) continue;
    if (datatypes[name].bytes * 8 === bits) return name;
    throw new InputError(`has ${bits} bits a voxel, which is not ${name}`);
  }
  throw new InputError(`has the data type ${code}; known are ${Object.keys(datatypes).join(', ')}`);
}

function volumeOffset(view: DataView, littleEndian: boolean): number {
  const offset = view.getFloat32(108, littleEndian);
  if (!Number.isInteger(offset) || offset < singleFileOffset) {
    throw new InputError(`has its voxels at the impossible offset ${offset}`);
  }
  return offset;
}

/** By the standard a slope of zero means that the values are stored as they are. */
function volumeScaling(view: DataView, littleEndian: boolean): NiftiHeader['scaling'] {
  const slope = view.getFloat32(112, littleEndian);
  const intercept = view.getFloat32(116, littleEndian);
  if (slope === 0 || !Number.isFinite(slope)) return { slope: 1, intercept: 0 };
  return { slope, intercept: Number.isFinite(intercept) ? intercept : 0 };
}
