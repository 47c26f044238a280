// A batch model that does what its inputs say, on nothing but node: no code of the server's is in it.
// inputs.json: {"sleep_ms"?, "fail"?, "silent"?, …}; outputs.json: the inputs, and each file of theirs backwards.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';

const inputs = JSON.parse(readFileSync('/input/inputs.json', 'utf8'));
process.on('SIGTERM', () => process.exit(0));
await new Promise((done) => setTimeout(done, inputs.sleep_ms ?? 0));
if (inputs.fail !== undefined) {
  console.error(inputs.fail);
  process.exit(3);
}
const outputs = Object.fromEntries(
  Object.entries(inputs).map(([name, value]) => {
    if (typeof value?.file !== 'string') return [name, value];
    mkdirSync('/output/outputs', { recursive: true });
    writeFileSync(`/output/outputs/${name}`, readFileSync(`/input/${value.file}`).reverse());
    return [name, { file: `outputs/${name}` }];
  }),
);
if (inputs.silent !== true) writeFileSync('/output/outputs.json', JSON.stringify(outputs));
