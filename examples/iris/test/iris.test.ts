import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  encodeOutputs,
  outlinePredictRequest,
  parseContractJson,
  plainOutputs,
  predictRequestFromJson,
} from '@inference-server/protos';
import {
  modelFolder,
  pythonClient,
  startModel,
  typescriptClient,
} from '../../runtime-server/test/running-model.js';
import { contract, inputs } from '../demo.mjs';
import { createIrisModel } from '../src/iris-model.js';
import { train } from '../train.mjs';

const file = (name: string) => new URL(`../${name}`, import.meta.url);
const csv = readFileSync(file('iris.csv'), 'utf8');
const rows = csv
  .trim()
  .split('\n')
  .slice(1)
  .map((line) => line.split(','));

async function predict(json: string, value: object): Promise<Record<string, unknown>> {
  const { inputs: fields, outputs } = parseContractJson(json);
  const model = await createIrisModel(file('model').pathname);
  const request = predictRequestFromJson({ inputs: fields }, JSON.stringify(value));
  const answer = model(outlinePredictRequest(request).inputs);
  return plainOutputs({ outputs }, Buffer.concat(encodeOutputs(answer)));
}

describe('the iris model', () => {
  it('has the weights that the script trains', () => {
    expect(JSON.parse(readFileSync(file('model/weights.json'), 'utf8'))).toEqual(train(csv));
  });

  it('tells 97 % of the flowers that it was trained with', async () => {
    expect(rows).toHaveLength(150);
    const measurements = rows.map((row) => row.slice(0, 4).map(Number));
    const { species, probabilities } = await predict(contract, { measurements });
    const right = (species as string[]).filter((name, index) => name === rows[index]?.[4]);
    expect(right.length).toBeGreaterThanOrEqual(146);
    for (const flower of probabilities as number[][]) {
      expect(flower.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
    }
  });

  it('takes one flower by its four names, too', async () => {
    const one = { sepal_length: 5.1, sepal_width: 3.5, petal_length: 1.4, petal_width: 0.2 };
    const json = readFileSync(file('contract-one.json'), 'utf8');
    expect(await predict(json, one)).toMatchObject({ species: 'setosa' });
  });

  it('tells the species of the flowers of the demo', async () => {
    const { species } = await predict(contract, inputs);
    expect(species).toEqual(['setosa', 'versicolor', 'virginica']);
  });
});

describe('the iris container’s program', () => {
  it('answers its clients in TypeScript and Python, and refuses what breaks its contract', async () => {
    const weights = readFileSync(file('model/weights.json'));
    const folder = await modelFolder(contract, { 'weights.json': weights });
    const address = await startModel('iris', folder);
    const flower = ['6.3', '3.3', '6.0', '2.5'];
    const answer: unknown = JSON.parse(await typescriptClient('iris', [address, ...flower]));
    expect(answer).toMatchObject({ species: ['virginica'] });
    const printed = await pythonClient('iris', [address, ...flower]);
    expect(printed).toBe('virginica 0.000 0.000 1.000\n');
    await expect(pythonClient('iris', [address, '1', '2', '3', '4', '5'])).rejects.toThrow(
      'The input "measurements" has a number of values that is not that of its shape.',
    );
  });
});
