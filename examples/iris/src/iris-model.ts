import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { floatTensor, textTensor, type Model } from '@inference-server/example-runtime-server';
import { contentOf } from '@inference-server/protos';

interface Weights {
  species: string[];
  /** Of each species: what the four measurements count. */
  weights: number[][];
  biases: number[];
}

const names = ['sepal_length', 'sepal_width', 'petal_length', 'petal_width'];

/** Rows of measurements, or the four of one flower by their names: what the contract says comes. */
export async function createIrisModel(filesFolder: string): Promise<Model> {
  const text = await readFile(join(filesFolder, 'weights.json'), 'utf8');
  const trained = JSON.parse(text) as Weights;

  return (inputs) => {
    const rows = inputs.get('measurements');
    const parts = rows === undefined ? names.flatMap((name) => inputs.get(name) ?? []) : [rows];
    const values = floatsOf(Buffer.concat(parts.map(contentOf)));
    const flowers = Array.from({ length: values.length / 4 }, (_, index) =>
      probabilitiesOf(trained, values.slice(4 * index, 4 * index + 4)),
    );
    const leading = rows === undefined ? [] : [flowers.length];
    return new Map([
      [
        'species',
        textTensor(
          leading,
          flowers.map((flower) => likeliest(trained, flower)),
        ),
      ],
      ['probabilities', floatTensor([...leading, trained.species.length], flowers.flat())],
    ]);
  };
}

function floatsOf(content: Buffer): number[] {
  return Array.from({ length: content.length / 4 }, (_, index) => content.readFloatLE(4 * index));
}

function probabilitiesOf({ weights, biases }: Weights, measurements: number[]): number[] {
  const scores = weights.map((row, k) =>
    row.reduce((sum, weight, index) => sum + weight * (measurements[index] ?? 0), biases[k] ?? 0),
  );
  const highest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - highest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

function likeliest({ species }: Weights, probabilities: number[]): string {
  return species[probabilities.indexOf(Math.max(...probabilities))] ?? '';
}
