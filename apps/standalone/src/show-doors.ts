import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { AppError, systemCode } from '@inference-server/errors';
import { createClient } from '@inference-server/sdk';
import { addressesOf } from './addresses.js';
import type { Given } from './services.js';

const run = promisify(execFile);
const repository = fileURLToPath(new URL('../../..', import.meta.url));

/** Each door and its client in examples/doors, which is written as users do and prints what the model answered. */
const doors = {
  'tensorflow.serving.PredictionService': 'predict',
  'redhare.Inference': 'stream',
  'invocation.v1.Invocation': 'invoke',
  'inference.GRPCInferenceService': 'open-inference-grpc',
  '/v2/models/iris/infer': 'open-inference',
  ModelZeroRPCService: 'zerorpc',
};

/** Asks the model `iris`, which is there, once through every door, with the first admin key. */
export async function showDoors({ config, folder, print }: Given, signal: AbortSignal) {
  const { publicApi, grpc, zerorpc } = addressesOf(config);
  const apiKey = await firstKey(join(folder.path, 'admin.key'), publicApi, signal);
  if (apiKey === undefined) {
    print(
      '\nThe other doors are not shown: they ask for a key, and admin.key has none that is good.',
    );
    return;
  }
  print('\nThe same model through the other doors (examples/doors)');
  const env = { API_KEY: apiKey, API_URL: publicApi, GRPC_ADDRESS: grpc, ZERORPC_ADDRESS: zerorpc };
  const surroundings = { cwd: repository, env, signal, timeout: 60_000 };
  for (const [door, client] of Object.entries(doors)) {
    const program = `examples/doors/dist/${client}.js`;
    const { stdout } = await run(process.execPath, [program], surroundings);
    print(`  ${door.padEnd(36)} ${stdout.trim().replaceAll('\n', ', ')}`);
  }
}

/** Undefined: there is none, as on an existing database, or an admin has taken it away. */
async function firstKey(path: string, publicApi: string, signal: AbortSignal) {
  try {
    const token = (await readFile(path, 'utf8')).trim();
    await createClient({ baseUrl: publicApi, token }).listModels({ signal });
    return token;
  } catch (error) {
    const isGone = systemCode(error) === 'ENOENT';
    if (isGone || (error instanceof AppError && error.code === 'UNAUTHORIZED')) return undefined;
    throw error;
  }
}
