import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { NIFTI1, readHeader } from 'nifti-reader-js';
import { PNG } from 'pngjs';
import { describe, expect, it } from 'vitest';
import type { Datatype } from '../src/nifti/header.js';
import { runModel } from './model-folders.js';
import { niftiFile } from './nifti-file.js';

const regions = [
  { name: 'low', lower_hu: -100, upper_hu: 0 },
  { name: 'high', lower_hu: 100 },
];
const small = niftiFile({ size: [2, 2, 1], values: [-100, 0, 99, 100], spacing: [2, 3, 5] });

describe('the model', () => {
  it('writes a mask, a picture and statistics, worked out by hand', async () => {
    const { outputFolder, volumes, lines } = await runModel({ 'ct.nii': small }, regions);
    expect(await filesOf(outputFolder)).toEqual([
      'ct_mask.nii.gz',
      'ct_preview.png',
      'statistics.json',
    ]);
    const file = JSON.parse(
      await readFile(join(outputFolder, 'statistics.json'), 'utf8'),
    ) as object;
    expect(file).toEqual({ volumes });
    expect(volumes).toMatchObject([
      {
        volume: 'ct.nii',
        mask: 'ct_mask.nii.gz',
        preview: 'ct_preview.png',
        size: [2, 2, 1],
        spacing_mm: [2, 3, 5],
        regions: [
          { label: 1, name: 'low', voxels: 1, volume_ml: 0.03, mean_hu: -100, upper_hu: 0 },
          { label: 2, name: 'high', voxels: 1, volume_ml: 0.03, mean_hu: 100, upper_hu: null },
        ],
      },
    ]);
    // The lower bound belongs to a region, the upper one does not.
    expect(await labelsOf(join(outputFolder, 'ct_mask.nii.gz'))).toEqual([1, 0, 0, 2]);
    const png = PNG.sync.read(await readFile(join(outputFolder, 'ct_preview.png')));
    expect(png).toMatchObject({ width: 341, height: 512 });
    expect(lines).toEqual([
      'ct.nii: 2×2×1 voxels',
      '  low: 1 voxels, 0.0 ml',
      '  high: 1 voxels, 0.0 ml',
    ]);
  });

  it('processes every volume, in its folder, and passes over other files', async () => {
    const { outputFolder, volumes } = await runModel(
      {
        'b.NII': small,
        'patients/ü 1/a.nii.gz': gzipSync(small),
        'readme.txt': 'no volume',
        '__MACOSX/._b.nii': 'the shadow of a Mac',
      },
      regions,
    );
    expect(volumes.map(({ volume }) => volume)).toEqual(['b.NII', 'patients/ü 1/a.nii.gz']);
    expect(await filesOf(outputFolder)).toEqual([
      'b_mask.nii.gz',
      'b_preview.png',
      'patients',
      'patients/ü 1',
      'patients/ü 1/a_mask.nii.gz',
      'patients/ü 1/a_preview.png',
      'statistics.json',
    ]);
  });

  it('leaves values that are not finite to the background', async () => {
    const values = [NaN, Infinity, -Infinity, 5];
    const file = niftiFile({ size: [2, 2, 1], values, datatype: 'float32' });
    const { volumes, outputFolder } = await runModel({ 'a.nii': file }, [{ name: 'all' }]);
    expect(volumes[0]?.regions[0]).toMatchObject({ voxels: 1, mean_hu: 5, std_hu: 0 });
    expect(await labelsOf(join(outputFolder, 'a_mask.nii.gz'))).toEqual([0, 0, 0, 1]);
  });

  it('says which file is at fault', async () => {
    const truncated = small.subarray(0, small.length - 1);
    await expect(runModel({ 'sub/x.nii': truncated }, regions)).rejects.toThrow(
      /^sub\/x.nii is truncated.$/,
    );
    await expect(runModel({ 'x.nii': 'hello' }, regions)).rejects.toThrow(/^x.nii is truncated.$/);
    await expect(runModel({ 'x.txt': 'hello' }, regions)).rejects.toThrow(/holds no volume/);
    await expect(
      runModel({ 'x.nii': small, 'x.nii.gz': gzipSync(small) }, regions),
    ).rejects.toThrow(/x.nii and x.nii.gz would write the same results/);
  });
});

describe('the mask', () => {
  it.each([true, false])(
    'keeps the geometry bit by bit, little-endian %s',
    async (littleEndian) => {
      const original = niftiFile({
        size: [3, 2, 2],
        values: [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110],
        datatype: 'float64',
        littleEndian,
        slope: 2,
        intercept: -20,
        qfac: -1,
        spacing: [0.7, 0.8, 2.5],
        quaternion: { code: 1, bcd: [0.1, 0.2, 0.3], offset: [-11.1, 22.2, 33.3] },
        sform: {
          code: 2,
          rows: [
            [0.69, 0.01, 0, -11],
            [0, 0.79, 0.02, 22],
            [0.03, 0, 2.49, 33],
          ],
        },
        extension: Buffer.alloc(32, 1),
      });
      // A name in every field of free text: db_name, descrip, aux_file, intent_name.
      for (const offset of [14, 148, 200, 228, 328]) original.write('DOE^JOHN', offset, 'latin1');
      const { outputFolder } = await runModel({ 'a.nii': original }, regions);
      const mask = gunzipSync(await readFile(join(outputFolder, 'a_mask.nii.gz')));

      for (const [from, to] of [
        [40, 56], // dim
        [76, 108], // pixdim
        [252, 328], // qform, sform
      ] as const) {
        expect(mask.subarray(from, to)).toEqual(original.subarray(from, to));
      }
      expect(mask.length).toBe(352 + 12);
      expect(mask.includes('DOE')).toBe(false);

      // A second opinion: a reader that is not ours.
      const header = readHeader(arrayBufferOf(mask));
      expect(header).toBeInstanceOf(NIFTI1);
      expect(header).toMatchObject({
        littleEndian,
        dims: [3, 3, 2, 2, 1, 1, 1, 1],
        datatypeCode: NIFTI1.TYPE_UINT8,
        numBitsPerVoxel: 8,
        vox_offset: 352,
        scl_slope: 1,
        scl_inter: 0,
        intent_code: 1002,
        qform_code: 1,
        sform_code: 2,
        affine: readHeader(arrayBufferOf(original.subarray(0, 352))).affine,
        extensionFlag: [0, 0, 0, 0],
      });
    },
  );

  it('gives back any label volume that the thresholds tell apart', async () => {
    const axis = fc.integer({ min: 1, max: 7 });
    const volume = fc.tuple(axis, axis, axis).chain((size) =>
      fc.record({
        size: fc.constant(size),
        labels: fc.array(fc.integer({ min: 0, max: 5 }), {
          minLength: size[0] * size[1] * size[2],
          maxLength: size[0] * size[1] * size[2],
        }),
        datatype: fc.constantFrom<Datatype>(
          'uint8',
          'int16',
          'uint16',
          'int32',
          'float32',
          'float64',
        ),
        littleEndian: fc.boolean(),
        zipped: fc.boolean(),
        slope: fc.constantFrom(1, 2, 0.5),
        intercept: fc.constantFrom(0, -1024, 10),
      }),
    );
    await fc.assert(
      fc.asyncProperty(volume, async ({ size, labels, zipped, ...fields }) => {
        const file = niftiFile({ size, values: labels, ...fields });
        const valueOf = (label: number) => label * fields.slope + fields.intercept;
        const table = [1, 2, 3, 4, 5].map((label) => ({
          name: `label ${label}`,
          lower_hu: valueOf(label),
          upper_hu: valueOf(label + 1),
        }));
        const { outputFolder, volumes } = await runModel(
          { 'v.nii': zipped ? gzipSync(file) : file },
          table,
        );
        expect(await labelsOf(join(outputFolder, 'v_mask.nii.gz'))).toEqual(labels);
        for (const { label, voxels, mean_hu } of volumes[0]?.regions ?? []) {
          expect(voxels).toBe(labels.filter((other) => other === label).length);
          expect(mean_hu).toBe(voxels === 0 ? null : valueOf(label));
        }
      }),
      { numRuns: 60, seed: 20 },
    );
  });
});

async function filesOf(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true })).toSorted();
}

async function labelsOf(path: string): Promise<number[]> {
  return [...gunzipSync(await readFile(path)).subarray(352)];
}

function arrayBufferOf(file: Buffer): ArrayBuffer {
  return new Uint8Array(file).buffer;
}
