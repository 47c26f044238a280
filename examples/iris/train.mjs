import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const steps = 20_000;
const rate = 0.1;
const decay = 0.001;

/**
 * Softmax regression on standardised measurements, by gradient descent from zero: the same rows give the
 * same weights.
 *
 * @param {string} csv four measurements in cm and the species in each row, after a row with names
 * @returns {{ species: string[], weights: number[][], biases: number[] }} of measurements as they are
 */
export function train(csv) {
  const rows = csv
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(','));
  const species = [...new Set(rows.map((row) => row[4]))];
  const values = rows.map((row) => row.slice(0, 4).map(Number));
  const means = columns(values).map(mean);
  const deviations = columns(values).map((column, index) =>
    Math.sqrt(mean(column.map((value) => (value - means[index]) ** 2))),
  );
  const inputs = values.map((row) =>
    row.map((value, index) => (value - means[index]) / deviations[index]),
  );
  const wanted = rows.map((row) => species.map((name) => (name === row[4] ? 1 : 0)));
  const { weights, biases } = descend(inputs, wanted);
  // The standardisation goes into the weights.
  const plain = weights.map((row) => row.map((weight, index) => weight / deviations[index]));
  return {
    species,
    weights: plain.map((row) => row.map(rounded)),
    biases: biases.map((bias, k) =>
      rounded(bias - plain[k].reduce((sum, weight, index) => sum + weight * means[index], 0)),
    ),
  };
}

function descend(inputs, wanted) {
  const classes = wanted[0].length;
  const weights = Array.from({ length: classes }, () => inputs[0].map(() => 0));
  const biases = new Array(classes).fill(0);
  for (let step = 0; step < steps; step += 1) {
    const gradient = weights.map((row) => row.map((weight) => decay * weight));
    const biasGradient = biases.map(() => 0);
    inputs.forEach((row, at) => {
      const scores = weights.map((weight, k) => dot(weight, row) + biases[k]);
      softmax(scores).forEach((probability, k) => {
        const error = (probability - wanted[at][k]) / inputs.length;
        row.forEach((value, index) => (gradient[k][index] += error * value));
        biasGradient[k] += error;
      });
    });
    gradient.forEach((row, k) => {
      row.forEach((value, index) => (weights[k][index] -= rate * value));
      biases[k] -= rate * biasGradient[k];
    });
  }
  return { weights, biases };
}

function softmax(scores) {
  const highest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - highest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const columns = (rows) => rows[0].map((_, index) => rows.map((row) => row[index]));
/** Another processor may round the last digits of a power otherwise. */
const rounded = (value) => Number(value.toFixed(6));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const model = train(readFileSync(new URL('iris.csv', import.meta.url), 'utf8'));
  writeFileSync(
    new URL('model/weights.json', import.meta.url),
    `${JSON.stringify(model, null, 2)}\n`,
  );
}
