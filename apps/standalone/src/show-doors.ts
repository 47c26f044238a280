import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { CreatedKey } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
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

/** Asks the model `iris`, which is there, once through every door. A door that fails is told of, and no more. */
export async function showDoors({ config, folder, print }: Given, signal: AbortSignal) {
  const { publicApi, privateApi, grpc, zerorpc } = addressesOf(config);
  const keys = keysAt(`${privateApi}/api/admin/keys/`, folder.token, signal);
  print('\nThe same model through the other doors (examples/doors)');
  const made = await keys.make().catch((error: unknown) => {
    signal.throwIfAborted();
    print(`  ${messageOf(error)}`);
  });
  if (made === undefined) return;
  const { key: API_KEY, id } = made;
  try {
    const env = { API_KEY, API_URL: publicApi, GRPC_ADDRESS: grpc, ZERORPC_ADDRESS: zerorpc };
    const surroundings = { cwd: repository, env, signal, timeout: 60_000 };
    for (const [door, client] of Object.entries(doors)) {
      const program = `examples/doors/dist/${client}.js`;
      const said = await run(process.execPath, [program], surroundings).then(
        ({ stdout }) => stdout.trim().replaceAll('\n', ', '),
        (error: unknown) => {
          signal.throwIfAborted();
          return `failed: ${messageOf(error)}`;
        },
      );
      print(`  ${door.padEnd(36)} ${said}`);
    }
  } finally {
    await keys.remove(id).catch(() => undefined);
  }
}

/** A key of the demo's own: what is stored under it is nobody else's. One that is left behind ends by itself. */
function keysAt(url: string, token: string, signal: AbortSignal) {
  async function ask(path: string, init: RequestInit): Promise<Response> {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const answer = await fetch(url + path, { ...init, headers, signal });
    if (!answer.ok) throw new Error(`The demo has no key: ${answer.status}`);
    return answer;
  }
  return {
    async make(): Promise<CreatedKey> {
      const body = JSON.stringify({ name: 'demo', role: 'submit', expires_in_s: 600 });
      return (await (await ask('', { method: 'POST', body })).json()) as CreatedKey;
    },
    remove: (id: string) => ask(id, { method: 'DELETE', body: '{}' }),
  };
}
