import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { datatypes, headerBytes, singleFileOffset, type NiftiHeader } from './header.js';

/** The code by which a viewer knows that the values are labels and not intensities. */
const labelIntent = 1002;

/**
 * Writes a label volume as `.nii.gz` with the geometry of `like`: same size, spacing, qform and
 * sform, bit by bit, in the same byte order. `slices` yields one byte a voxel, slice by slice.
 */
export async function writeLabels(
  path: string,
  like: NiftiHeader,
  slices: AsyncIterable<Uint8Array>,
): Promise<void> {
  async function* content() {
    yield labelHeader(like);
    yield* slices;
  }
  await pipeline(content, createGzip({ level: 6 }), createWriteStream(path));
}

/** The header of `like` with everything replaced that describes its values or names its subject. */
function labelHeader({ bytes, littleEndian }: NiftiHeader): Buffer {
  const header = Buffer.alloc(singleFileOffset);
  bytes.copy(header);
  const view = new DataView(header.buffer, header.byteOffset, headerBytes);

  header.fill(0, 4, 39); // data_type, db_name, extents, session_error: free text and unused
  header.fill(0, 56, 68); // intent_p1 … intent_p3
  view.setInt16(68, labelIntent, littleEndian);
  view.setInt16(70, datatypes.uint8.code, littleEndian);
  view.setInt16(72, datatypes.uint8.bytes * 8, littleEndian);
  view.setFloat32(108, singleFileOffset, littleEndian);
  view.setFloat32(112, 1, littleEndian); // scl_slope
  view.setFloat32(116, 0, littleEndian); // scl_inter
  header.fill(0, 124, 132); // cal_max, cal_min: the display window of the original
  header.fill(0, 148, 252); // descrip, aux_file: free text that may name the patient
  header.write('regions by threshold', 148, 'latin1');
  header.fill(0, 328, 344); // intent_name
  return header;
}
