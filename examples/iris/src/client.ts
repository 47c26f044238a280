import { callModel } from '@inference-server/example-runtime-server';
import contract from '../contract.json' with { type: 'json' };
import { jsonOfValues, parseContractJson } from '@inference-server/protos';

// node dist/client.cjs HOST:PORT SEPAL_LENGTH SEPAL_WIDTH PETAL_LENGTH PETAL_WIDTH; the model is `iris`.
const [address = '127.0.0.1:8500', ...measurements] = process.argv.slice(2);
callModel({
  address,
  model: 'iris',
  contract: parseContractJson(JSON.stringify(contract)),
  inputs: { measurements: [measurements.map(Number)] },
  apiKey: process.env['API_KEY'],
}).then(
  (outputs) => console.log(jsonOfValues(outputs)),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  },
);
