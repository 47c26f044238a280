import { InputError } from '../input-error.js';
import type { NiftiHeader } from './header.js';

export type Vector = [number, number, number];

/** Where a volume lies in the patient. World axes point right, anterior and superior. */
export interface Geometry {
  /** The edges of a voxel in mm. */
  spacingMm: Vector;
  /** Three rows of four: voxel index (i, j, k, 1) to world position in mm. */
  affine: [Row, Row, Row];
}

type Row = [number, number, number, number];

/**
 * Reads spacing and orientation out of a header. Of the two orientations that a header may carry
 * the sform is taken, then the qform, as most programs do; with neither, the spacing alone counts.
 * Throws {@link InputError}.
 */
export function geometryOf({ bytes, littleEndian }: NiftiHeader): Geometry {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const float = (offset: number) => view.getFloat32(offset, littleEndian);
  const toMm = millimetresPerUnit(view.getUint8(123));

  const spacing: Vector = [float(80) * toMm, float(84) * toMm, float(88) * toMm];
  if (!spacing.every((edge) => edge > 0 && Number.isFinite(edge))) {
    throw new InputError(`has the impossible voxel spacing ${spacing.join('×')} mm`);
  }
  const affine =
    view.getInt16(254, littleEndian) > 0
      ? sform(float, toMm)
      : view.getInt16(252, littleEndian) > 0
        ? qform(float, toMm, spacing)
        : scaledOnly(spacing);
  if (!affine.flat().every(Number.isFinite)) throw new InputError('has a broken orientation');
  return { spacingMm: spacing, affine };
}

/** The world position in mm of a voxel's centre; the index may be fractional. */
export function worldPosition({ affine }: Geometry, [i, j, k]: Vector): Vector {
  const along = (row: Row) => row[0] * i + row[1] * j + row[2] * k + row[3];
  return [along(affine[0]), along(affine[1]), along(affine[2])];
}

/** The low three bits of `xyzt_units`; an unknown unit counts as mm, which scanners write. */
function millimetresPerUnit(units: number): number {
  const spatial = units & 7;
  if (spatial === 1) return 1000;
  return spatial === 3 ? 0.001 : 1;
}

function sform(float: (offset: number) => number, toMm: number): Geometry['affine'] {
  const row = (offset: number): Row => [
    float(offset) * toMm,
    float(offset + 4) * toMm,
    float(offset + 8) * toMm,
    float(offset + 12) * toMm,
  ];
  return [row(280), row(296), row(312)];
}

/** A rotation by the unit quaternion (a, b, c, d), of which the header stores b, c and d. */
function qform(
  float: (offset: number) => number,
  toMm: number,
  [si, sj, sk]: Vector,
): Geometry['affine'] {
  const [a, b, c, d] = unitQuaternion(float(256), float(260), float(264));
  const [x, y, z] = [float(268) * toMm, float(272) * toMm, float(276) * toMm];
  // pixdim[0] tells whether the third axis is mirrored.
  const wk = float(76) < 0 ? -sk : sk;
  return [
    [(a * a + b * b - c * c - d * d) * si, 2 * (b * c - a * d) * sj, 2 * (b * d + a * c) * wk, x],
    [2 * (b * c + a * d) * si, (a * a + c * c - b * b - d * d) * sj, 2 * (c * d - a * b) * wk, y],
    [2 * (b * d - a * c) * si, 2 * (c * d + a * b) * sj, (a * a + d * d - b * b - c * c) * wk, z],
  ];
}

/** Rounding to float32 may leave b² + c² + d² a little above 1: then a is 0 and the rest scaled. */
function unitQuaternion(b: number, c: number, d: number): [number, number, number, number] {
  const rest = b * b + c * c + d * d;
  if (rest < 1) return [Math.sqrt(1 - rest), b, c, d];
  const length = Math.sqrt(rest);
  return [0, b / length, c / length, d / length];
}

function scaledOnly([si, sj, sk]: Vector): Geometry['affine'] {
  return [
    [si, 0, 0, 0],
    [0, sj, 0, 0],
    [0, 0, sk, 0],
  ];
}
