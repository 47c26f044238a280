import { describe, expect, it } from 'vitest';
import { parseHeader } from '../src/nifti/header.js';
import { niftiFile } from './nifti-file.js';

const cube = { size: [2, 2, 2] as [number, number, number], values: [] };

describe('a NIfTI-1 header', () => {
  it('tells size, type, offset and scaling in either byte order', () => {
    for (const littleEndian of [true, false]) {
      const file = niftiFile({
        size: [5, 4, 3],
        values: [],
        datatype: 'float32',
        littleEndian,
        slope: 2,
        intercept: -1024,
        extension: Buffer.alloc(16),
      });
      expect(parseHeader(file.subarray(0, 348))).toMatchObject({
        littleEndian,
        size: [5, 4, 3],
        datatype: 'float32',
        dataOffset: 368,
        scaling: { slope: 2, intercept: -1024 },
      });
    }
  });

  it('takes a slope of zero, or one that is not a number, for no scaling', () => {
    for (const slope of [0, NaN]) {
      const { scaling } = parseHeader(niftiFile({ ...cube, slope, intercept: 7 }));
      expect(scaling).toEqual({ slope: 1, intercept: 0 });
    }
  });

  it('may have more axes when they are one long', () => {
    const file = niftiFile(cube);
    file.writeInt16LE(5, 40);
    expect(parseHeader(file).size).toEqual([2, 2, 2]);
  });

  const broken: [string, (file: Buffer) => void, RegExp][] = [
    ['other files', (file) => file.fill('PK', 0, 8), /is not a NIfTI-1 file/],
    ['a wrong magic', (file) => file.write('n+9', 344), /is not a NIfTI-1 file/],
    ['header and image pairs', (file) => file.write('ni1', 344), /half of a .hdr\/.img pair/],
    ['NIfTI-2', (file) => file.writeInt32LE(540, 0), /is NIfTI-2/],
    ['NIfTI-2, big-endian', (file) => file.writeInt32BE(540, 0), /is NIfTI-2/],
    ['two axes', (file) => file.writeInt16LE(2, 40), /has 2 axes/],
    ['time series', (file) => writeInt16s(file, 40, [4, 2, 2, 2, 9]), /9 volumes along axis 4/],
    ['an empty axis', (file) => file.writeInt16LE(0, 44), /impossible size 2×0×2/],
    ['a negative axis', (file) => file.writeInt16LE(-2, 46), /impossible size 2×2×-2/],
    ['giant slices', (file) => writeInt16s(file, 42, [32767, 32767]), /too large/],
    ['colour', (file) => writeInt16s(file, 70, [128, 24]), /data type 128; known are uint8/],
    ['a type of other width', (file) => file.writeInt16LE(8, 72), /8 bits a voxel.*not int16/],
    ['voxels inside the header', (file) => file.writeFloatLE(100, 108), /impossible offset 100/],
    ['an offset that is no number', (file) => file.writeFloatLE(NaN, 108), /impossible offset NaN/],
  ];
  it.each(broken)('is refused: %s', (_, spoil, message) => {
    const file = niftiFile(cube);
    spoil(file);
    expect(() => parseHeader(file)).toThrow(message);
  });
});

function writeInt16s(file: Buffer, offset: number, values: number[]): void {
  values.forEach((value, n) => file.writeInt16LE(value, offset + 2 * n));
}
