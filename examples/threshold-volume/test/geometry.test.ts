import { describe, expect, it } from 'vitest';
import { geometryOf, worldPosition, type Vector } from '../src/nifti/geometry.js';
import { parseHeader } from '../src/nifti/header.js';
import { niftiFile, type NiftiFields } from './nifti-file.js';

describe('where a volume lies', () => {
  it('follows the sform, even beside a qform of a higher code', () => {
    const at = positions({
      spacing: [2, 3, 4],
      quaternion: { code: 2, bcd: [0, 0, 0], offset: [9, 9, 9] },
      sform: {
        code: 1,
        rows: [
          [0, -3, 0, 10],
          [2, 0, 0, 20],
          [0, 0, 4, 30],
        ],
      },
    });
    expect(at([0, 0, 0])).toEqual([10, 20, 30]);
    expect(at([1, 2, 3])).toEqual([10 - 6, 20 + 2, 30 + 12]);
  });

  it('follows the qform without an sform: a quarter turn about z', () => {
    const half = Math.SQRT1_2;
    const at = positions({
      spacing: [2, 3, 4],
      quaternion: { code: 1, bcd: [0, 0, half], offset: [1, 2, 3] },
    });
    // i points to +y, j to -x.
    expectNear(at([1, 0, 0]), [1, 2 + 2, 3]);
    expectNear(at([0, 1, 0]), [1 - 3, 2, 3]);
    expectNear(at([0, 0, 1]), [1, 2, 3 + 4]);
  });

  it('mirrors the third axis when qfac is -1', () => {
    const at = positions({
      spacing: [2, 3, 4],
      qfac: -1,
      quaternion: { code: 1, bcd: [0, 1, 0], offset: [0, 0, 0] },
    });
    // Half a turn about y: x and z change sign; the mirror turns z back.
    expectNear(at([1, 1, 1]), [-2, 3, 4]);
  });

  it('bears a quaternion that rounding made longer than 1', () => {
    const at = positions({
      spacing: [1, 1, 1],
      quaternion: { code: 1, bcd: [0, 0, 1.0000001], offset: [0, 0, 0] },
    });
    expectNear(at([1, 1, 1]), [-1, -1, 1]);
  });

  it('is the spacing alone with neither', () => {
    expect(positions({ spacing: [2, 3, 4] })([1, 1, 1])).toEqual([2, 3, 4]);
  });

  it('is in mm, whatever the unit of the file', () => {
    const metres = geometry({ spacing: [0.5, 0.25, 0.125], units: 1 | 8 });
    expect(metres.spacingMm).toEqual([500, 250, 125]);
    const microns = geometry({
      spacing: [500, 500, 1000],
      units: 3,
      quaternion: { code: 1, bcd: [0, 0, 0], offset: [2000, 0, 0] },
    });
    expect(microns.spacingMm).toEqual([0.5, 0.5, 1]);
    expect(worldPosition(microns, [0, 0, 0])).toEqual([2, 0, 0]);
  });

  it('is refused when it cannot be', () => {
    expect(() => geometry({ spacing: [1, 0, 1] })).toThrow(/impossible voxel spacing 1×0×1 mm/);
    expect(() => geometry({ spacing: [1, -1, 1] })).toThrow(/impossible voxel spacing/);
    expect(() => geometry({ spacing: [NaN, 1, 1] })).toThrow(/impossible voxel spacing/);
    const rows = [
      [1, 0, 0, 0],
      [0, 1, 0, Infinity],
      [0, 0, 1, 0],
    ];
    expect(() => geometry({ sform: { code: 1, rows } })).toThrow(/broken orientation/);
  });
});

function geometry(fields: Partial<NiftiFields>) {
  return geometryOf(parseHeader(niftiFile({ size: [2, 2, 2], values: [], ...fields })));
}

function positions(fields: Partial<NiftiFields>) {
  const found = geometry(fields);
  return (index: Vector) => worldPosition(found, index);
}

function expectNear(actual: Vector, expected: Vector): void {
  actual.forEach((coordinate, axis) => {
    expect(coordinate).toBeCloseTo(expected[axis] ?? NaN, 5);
  });
}
