import { callModel } from '@inference-server/example-runtime-server';
import { jsonOfValues, parseContractJson } from '@inference-server/protos';
import contract from '../contract.json' with { type: 'json' };

// node dist/client.cjs HOST:PORT TEXT…; the model is `echo`.
const [address = '127.0.0.1:8500', ...texts] = process.argv.slice(2);
callModel({
  address,
  model: 'echo',
  contract: parseContractJson(JSON.stringify(contract)),
  inputs: { numbers: [0.5, 'Infinity'], ids: [2n ** 63n - 1n], texts, flag: true },
  apiKey: process.env['API_KEY'],
}).then(
  (outputs) => console.log(jsonOfValues(outputs)),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  },
);
