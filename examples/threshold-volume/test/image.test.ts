import AdmZip from 'adm-zip';
import { describe, expect, it } from 'vitest';
import { testEngine } from '@inference-server/testing';
import { runImage, type Files } from '../../image-import/test/run-image.js';
import { buildImage } from '../build-image.mjs';
import { describeResult, modelZip, taskZip } from '../demo.mjs';

describe('the image of the threshold example', () => {
  it('measures the sample volume as a user of its own, and the demo can tell the result', async () => {
    const { exitCode, log, output } = await run(filesOf(taskZip()));
    expect(log).toMatch(/^ct.nii.gz: 96×96×40 voxels\n/);
    expect(exitCode).toBe(0);
    expect([...output.keys()].toSorted()).toEqual([
      'ct_mask.nii.gz',
      'ct_preview.png',
      'statistics.json',
    ]);

    const zip = new AdmZip();
    for (const [name, { content }] of output) zip.addFile(name, content);
    const lines = describeResult(zip.toBuffer()).split('\n');
    expect(lines).toContain('ct.nii.gz: 96×96×40 voxels of 2×2×5 mm');
    expect(lines.map((line) => line.trim().split(/ {2,}/)[0])).toEqual(
      expect.arrayContaining(['statistics.json', 'lung', 'fat', 'soft tissue', 'bone']),
    );
    // The tissues of the phantom are where they were put.
    const measured = (region: string) => {
      const row = lines.find((line) => line.trimStart().startsWith(region));
      return Number(row?.trim().split(/ {2,}/)[3]);
    };
    const expected = { lung: -780, fat: -95, 'soft tissue': 40, bone: 350 };
    for (const [region, meanHu] of Object.entries(expected)) {
      expect(Math.abs(measured(region) - meanHu), region).toBeLessThan(25);
    }
  });

  it('fails with one clear line when the input is no good', async () => {
    expect(await run({ 'ct.nii': 'no volume' })).toMatchObject({
      exitCode: 1,
      log: 'ct.nii is truncated.\n',
    });
    expect(await run({ 'readme.txt': 'hello' })).toMatchObject({
      exitCode: 1,
      log: 'The input holds no volume: no file ends in .nii or .nii.gz.\n',
    });
  });
});

async function run(input: Files) {
  const engine = await testEngine();
  const image = await buildImage({ ...engine, signal: AbortSignal.timeout(60_000) });
  return runImage(engine, { image, input, model: filesOf(modelZip()) });
}

function filesOf(zip: Buffer): Files {
  const entries = new AdmZip(zip).getEntries();
  return Object.fromEntries(entries.map((entry) => [entry.entryName, entry.getData()]));
}
