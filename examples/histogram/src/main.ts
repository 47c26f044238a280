import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { histogramOf, InputError, pictureOf, samplesIn } from './histogram.js';

/** The folders that every model of InferenceServer finds in its container. */
const [inputFolder, outputFolder] = ['/input', '/output'];

function run(): void {
  const inputs = JSON.parse(readFileSync(join(inputFolder, 'inputs.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  // Bytes stand beside the document, which names the file.
  const samples = samplesIn(inputs['samples'], (path) => readFileSync(join(inputFolder, path)));
  const { counts, edges } = histogramOf(samples, inputs['bins'] ?? 10);
  mkdirSync(join(outputFolder, 'outputs'));
  writeFileSync(join(outputFolder, 'outputs/picture.pgm'), pictureOf(counts));
  const outputs = { counts, edges, picture: { file: 'outputs/picture.pgm' } };
  writeFileSync(join(outputFolder, 'outputs.json'), JSON.stringify(outputs));
}

// Exit code 0 tells the server that the task is finished; any other fails it, and the last lines of the log
// are what the caller is told, whichever door the call came through.
try {
  run();
} catch (error) {
  console.error(error instanceof InputError ? error.message : error);
  process.exitCode = 1;
}
