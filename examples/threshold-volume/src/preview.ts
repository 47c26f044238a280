import { PNG } from 'pngjs';
import type { Geometry } from './nifti/geometry.js';

/** One slice with its labels, both ordered row by row. */
export interface PreviewSlice {
  values: Float64Array;
  labels: Uint8Array;
  /** Voxels along i and j. */
  width: number;
  height: number;
}

/** The longer edge of the picture, in pixels. */
const longEdge = 512;

/** From air to dense bone: −1000 HU is black, 1000 HU white. */
const window = { blackHu: -1000, whiteHu: 1000 };

/** How much of a labelled pixel is colour; the rest is the grey image beneath. */
const opacity = 0.4;

/** Told apart by eye, also by most colour-blind ones; a 9th region starts over. */
const palette: readonly Color[] = [
  [86, 180, 233],
  [240, 228, 66],
  [213, 94, 0],
  [204, 121, 167],
  [0, 158, 115],
  [230, 159, 0],
  [0, 114, 178],
  [148, 103, 189],
];

type Color = readonly [red: number, green: number, blue: number];

/**
 * Draws a slice as a radiologist looks at it (front at the top, the patient's right at the left),
 * with square pixels and the regions in colour over the grey image.
 */
export function drawPreview(slice: PreviewSlice, { spacingMm, affine }: Geometry): Buffer {
  const extent = [slice.width * spacingMm[0], slice.height * spacingMm[1]] as const;
  const pixelsPerMm = longEdge / Math.max(...extent);
  const width = Math.max(1, Math.round(extent[0] * pixelsPerMm));
  const height = Math.max(1, Math.round(extent[1] * pixelsPerMm));
  const mirrored = { i: affine[0][0] > 0, j: affine[1][1] > 0 };

  const png = new PNG({ width, height, colorType: 2 });
  for (let y = 0; y < height; y += 1) {
    const j = nearest(y, height, slice.height, mirrored.j);
    for (let x = 0; x < width; x += 1) {
      const at = j * slice.width + nearest(x, width, slice.width, mirrored.i);
      const color = pixelColor(slice.values[at] ?? 0, slice.labels[at] ?? 0);
      png.data.set([...color, 255], 4 * (y * width + x));
    }
  }
  return PNG.sync.write(png, { colorType: 2 });
}

/** The voxel whose area a pixel's centre falls into. */
function nearest(pixel: number, pixels: number, voxels: number, mirrored: boolean): number {
  const voxel = Math.floor(((pixel + 0.5) * voxels) / pixels);
  return mirrored ? voxels - 1 - voxel : voxel;
}

function pixelColor(value: number, label: number): Color {
  const grey = greyOf(value);
  const color = label === 0 ? undefined : palette[(label - 1) % palette.length];
  if (color === undefined) return [grey, grey, grey];
  const mix = (channel: number) => Math.round(grey * (1 - opacity) + channel * opacity);
  return [mix(color[0]), mix(color[1]), mix(color[2])];
}

function greyOf(value: number): number {
  const share = (value - window.blackHu) / (window.whiteHu - window.blackHu);
  // A value that is not a number is drawn black.
  return share > 0 ? Math.round(255 * Math.min(share, 1)) : 0;
}
