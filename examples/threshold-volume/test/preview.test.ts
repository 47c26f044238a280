import { PNG } from 'pngjs';
import { describe, expect, it } from 'vitest';
import type { Geometry } from '../src/nifti/geometry.js';
import { drawPreview } from '../src/preview.js';

/** Four voxels: black and white above, grey and a labelled black below. */
const slice = {
  width: 2,
  height: 2,
  values: Float64Array.of(-1000, 1000, 0, -2000),
  labels: Uint8Array.of(0, 0, 0, 1),
};
const black = [0, 0, 0];
const white = [255, 255, 255];
const grey = [128, 128, 128];
const labelled = [34, 72, 93]; // 40 % of the first colour over black

describe('the preview', () => {
  it('shows the grey image with regions in colour, front and right first', () => {
    expect(corners(draw({ i: -1, j: -1 }))).toEqual([black, white, grey, labelled]);
  });

  it('mirrors a volume whose axes run the other way', () => {
    expect(corners(draw({ i: 1, j: -1 }))).toEqual([white, black, labelled, grey]);
    expect(corners(draw({ i: -1, j: 1 }))).toEqual([grey, labelled, black, white]);
  });

  it('has square pixels and a longer edge of 512', () => {
    expect(draw({ i: -1, j: -1 })).toMatchObject({ width: 512, height: 512 });
    expect(draw({ i: -4, j: -1 })).toMatchObject({ width: 512, height: 128 });
    expect(draw({ i: -1, j: -2 })).toMatchObject({ width: 256, height: 512 });
  });

  it('draws values that are not numbers black', () => {
    const values = Float64Array.of(NaN, NaN, NaN, NaN);
    const png = PNG.sync.read(drawPreview({ ...slice, values }, geometry({ i: -1, j: -1 })));
    expect(pixel(png, 0, 0)).toEqual(black);
  });
});

function draw(steps: { i: number; j: number }): PNG {
  return PNG.sync.read(drawPreview(slice, geometry(steps)));
}

/** World x and y per voxel step, which may be negative. */
function geometry({ i, j }: { i: number; j: number }): Geometry {
  return {
    spacingMm: [Math.abs(i), Math.abs(j), 1],
    affine: [
      [i, 0, 0, 0],
      [0, j, 0, 0],
      [0, 0, 1, 0],
    ],
  };
}

function corners(png: PNG): number[][] {
  const [right, bottom] = [png.width - 1, png.height - 1];
  return [pixel(png, 0, 0), pixel(png, right, 0), pixel(png, 0, bottom), pixel(png, right, bottom)];
}

function pixel(png: PNG, x: number, y: number): number[] {
  return [...png.data.subarray(4 * (y * png.width + x), 4 * (y * png.width + x) + 3)];
}
