import { readFile } from 'node:fs/promises';
import { callModel } from '@inference-server/example-runtime-server';
import { jsonOfValues, parseContractJson } from '@inference-server/protos';
import contract from '../contract.json' with { type: 'json' };

// node dist/client.cjs HOST:PORT FILE.png; the model is `image-stats`.
async function main([address = '127.0.0.1:8500', path = 'image.png']: string[]): Promise<void> {
  const outputs = await callModel({
    address,
    model: 'image-stats',
    contract: parseContractJson(JSON.stringify(contract)),
    inputs: { image: await readFile(path) },
    apiKey: process.env['API_KEY'],
  });
  console.log(jsonOfValues(outputs));
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
