import { expect, it } from 'vitest';
import { testEngine } from '@inference-server/testing';
import { runImage, type Files } from '../../image-import/test/run-image.js';
import { buildImage } from '../build-image.mjs';

async function run(inputs: object, files: Files = {}) {
  const engine = await testEngine();
  const image = await buildImage({ ...engine, signal: AbortSignal.timeout(60_000) });
  const input = { 'inputs.json': JSON.stringify(inputs), ...files };
  return runImage(engine, { image, input });
}

it('counts numbers that stand in the document, and draws them', async () => {
  const { exitCode, output } = await run({ samples: [0, 1, 1, 4], bins: 2 });
  expect(exitCode).toBe(0);
  expect(JSON.parse(output.get('outputs.json')?.content.toString() ?? '')).toEqual({
    ...{ counts: [3, 1], edges: [0, 2, 4], picture: { file: 'outputs/picture.pgm' } },
  });
  const picture = output.get('outputs/picture.pgm')?.content;
  expect(picture?.subarray(0, 12).toString()).toBe('P5\n2 64\n255\n');
  expect([...(picture?.subarray(-2) ?? [])]).toEqual([255, 255]);
});

it('counts the same numbers as bytes beside it', async () => {
  const samples = Buffer.from(Float64Array.of(0, 1, 1, 4).buffer);
  const inputs = { samples: { file: 'inputs/samples' }, bins: 2 };
  const { output } = await run(inputs, { 'inputs/samples': samples });
  const outputs: unknown = JSON.parse(output.get('outputs.json')?.content.toString() ?? '');
  expect(outputs).toMatchObject({ counts: [3, 1] });
});

it.each([
  [{ samples: 'many' }, 'samples must be a list of numbers, or bytes with doubles.\n'],
  [{ samples: [] }, 'samples has no numbers.\n'],
  [{ samples: [1], bins: 0 }, 'bins must be a whole number from 1 to 1000.\n'],
])('says in one line what is wrong with %j', async (inputs, log) => {
  expect(await run(inputs)).toMatchObject({ exitCode: 1, log });
});
