import { gzipSync } from 'node:zlib';

const size = { i: 96, j: 96, k: 40 };
const spacingMm = { i: 2, j: 2, k: 5 };
/** Each voxel is the mean of 2×2×2 points, so that edges are as soft as a scanner's. */
const pointsPerEdge = 2;
const noiseHu = 15;

/**
 * A synthetic chest as a gzipped NIfTI-1 volume of CT values (int16): body with fat and skin,
 * lungs with a nodule, heart, liver, spine, ribs, windpipe. The same seed gives the same bytes.
 *
 * @param {{ seed?: number }} [options]
 * @returns {Buffer}
 */
export function makeSampleVolume({ seed = 1 } = {}) {
  const noise = gaussianNoise(seed);
  const voxels = new Int16Array(size.i * size.j * size.k);
  let at = 0;
  for (let k = 0; k < size.k; k += 1) {
    for (let j = 0; j < size.j; j += 1) {
      for (let i = 0; i < size.i; i += 1, at += 1) {
        const value = Math.round(meanDensity(i, j, k) + noiseHu * noise());
        voxels[at] = Math.max(-1024, Math.min(3071, value));
      }
    }
  }
  const bytes = Buffer.alloc(2 * voxels.length);
  voxels.forEach((value, index) => bytes.writeInt16LE(value, 2 * index));
  return gzipSync(Buffer.concat([header(), bytes]));
}

/** The mean density in HU over a voxel. */
function meanDensity(i, j, k) {
  let sum = 0;
  for (let point = 0; point < pointsPerEdge ** 3; point += 1) {
    const a = ((point % pointsPerEdge) + 0.5) / pointsPerEdge;
    const b = ((Math.floor(point / pointsPerEdge) % pointsPerEdge) + 0.5) / pointsPerEdge;
    const c = (Math.floor(point / pointsPerEdge ** 2) + 0.5) / pointsPerEdge;
    sum += density(
      (i + a - size.i / 2) * spacingMm.i,
      (j + b - size.j / 2) * spacingMm.j,
      (k + c - size.k / 2) * spacingMm.k,
    );
  }
  return sum / pointsPerEdge ** 3;
}

/** The density in HU at a point: x to the patient's left, y to the back, z to the head, in mm. */
function density(x, y, z) {
  const body = inside(x, y, z, [0, 0, 0], [88, 64, 220]);
  if (body > 1) return -1000;

  const vertebra = inside(x, y, z, [0, 38, z], [15, 12, 1]);
  const canal = inside(x, y, z, [0, 48, z], [6, 5, 1]);
  if (canal < 1) return 30;
  if (vertebra < 1) return (z + 210) % 25 < 5 ? 80 : 350; // a disc between two vertebrae
  if (inside(x, y, z, [0, -52, 20], [9, 4, 60]) < 1) return 400; // breastbone

  const wall = inside(x, y, z, [0, 0, 0], [78, 54, 200]);
  if (wall > 1) return body > 0.88 ? 0 : -100; // skin, fat
  const shell = inside(x, y, z, [0, 0, 0], [72, 49, 190]);
  if (shell > 1) return (z + 0.6 * y + 400) % 22 < 9 ? 500 : 45; // ribs slope, muscle between

  if (inside(x, y, z, [0, 8, 70], [7, 7, 45]) < 1) return -1000; // windpipe
  if (inside(x, y, z, [12, -18, -20], [32, 26, 42]) < 1) return 45; // heart
  if (inside(x, y, z, [-25, 0, -105], [55, 46, 60]) < 1) return 60; // dome of the liver
  if (inside(x, y, z, [-42, 10, 15], [9, 9, 9]) < 1) return 20; // nodule
  const lung = Math.min(
    inside(x, y, z, [-40, 2, 5], [29, 42, 85]),
    inside(x, y, z, [40, 2, 5], [29, 42, 85]),
  );
  if (lung < 1) return -820 + 60 * lung;
  return 35;
}

/** Below 1 inside the ellipsoid, 1 on its surface, above 1 outside. */
function inside(x, y, z, [cx, cy, cz], [rx, ry, rz]) {
  return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2;
}

/** Normally distributed numbers: Box and Muller's method over a 32-bit linear congruence. */
function gaussianNoise(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

/**
 * The header and the four bytes that say "no extension". The first two axes run to the patient's
 * left and back, as scanners store them: a rotation of 180° about z, since NIfTI's world axes
 * point right and to the front. The middle of the volume is the world's origin.
 */
function header() {
  const bytes = Buffer.alloc(352);
  const int16 = (offset, ...values) =>
    values.forEach((v, n) => bytes.writeInt16LE(v, offset + 2 * n));
  const float = (offset, ...values) =>
    values.forEach((v, n) => bytes.writeFloatLE(v, offset + 4 * n));
  const first = (axis) => ((size[axis] - 1) / 2) * spacingMm[axis];

  bytes.writeInt32LE(348, 0);
  int16(40, 3, size.i, size.j, size.k, 1, 1, 1, 1); // dim
  int16(70, 4, 16); // datatype int16, bitpix
  float(76, 1, spacingMm.i, spacingMm.j, spacingMm.k); // pixdim
  float(108, 352); // vox_offset
  float(112, 1, 0); // scl_slope, scl_inter
  bytes.writeUInt8(2, 123); // xyzt_units: mm
  bytes.write('synthetic chest', 148, 'latin1'); // descrip
  int16(252, 1, 1); // qform_code, sform_code: scanner
  float(256, 0, 0, 1); // quatern_b, _c, _d
  float(268, first('i'), first('j'), -first('k')); // qoffset
  float(280, -spacingMm.i, 0, 0, first('i')); // srow_x
  float(296, 0, -spacingMm.j, 0, first('j')); // srow_y
  float(312, 0, 0, spacingMm.k, -first('k')); // srow_z
  bytes.write('n+1\0', 344, 'latin1'); // magic
  return bytes;
}
