import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, inject, test } from 'vitest';
import { callerHeader, writeCaller, type ModelContract } from '@inference-server/contracts';
import { testFolder } from '@inference-server/testing';
import { modelOf, tokens } from './private-api.js';
import { echo, readyAt, startReplica, startScene, soon } from './scene.js';

const run = promisify(execFile);

const fields: ModelContract['inputs'] = [
  { name: 'x', dtype: 'DT_FLOAT', shape: [-1, 2] },
  { name: 't', dtype: 'DT_STRING', shape: [-1] },
];
const model = modelOf(1, {
  contract: { signature_name: 'predict', inputs: fields, outputs: fields },
});

async function compiledProto(): Promise<string> {
  const protos = join(inject('repository'), 'packages/protos/proto');
  const folder = join(await testFolder(), 'compiled');
  mkdirSync(folder);
  execFileSync('protoc', [
    ...['-I', protos, `--python_out=${folder}`, `--grpc_python_out=${folder}`],
    '--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin',
    'inference/grpc_service.proto',
  ]);
  return folder;
}

test('a client in Python speaks the Open Inference Protocol by gRPC and by HTTP', async () => {
  const { api, address, httpUrl } = await startScene();
  const replica = await startReplica(echo);
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  const caller = { owner: 'key:a', role: 'submit', credential: 'key:a', address: '::1' } as const;
  const headers = {
    authorization: `Bearer ${tokens.relay}`,
    [callerHeader]: writeCaller(caller),
  };
  const { stdout } = await run(
    '/usr/bin/python3',
    [
      join(inject('repository'), 'apps/rpc-gateway/test/oip_client.py'),
      ...[await compiledProto(), address, new URL(httpUrl).host, JSON.stringify(headers)],
    ],
    { env: { PYTHONDONTWRITEBYTECODE: '1' }, timeout: 25_000 },
  );
  const inferred = {
    head: ['echo', '1', 'a1'],
    outputs: [
      ['x', 'FP32', [2, 2]],
      ['t', 'BYTES', [1]],
    ],
    x: [1, 2, 3, 4],
    t: [2, 0, 0, 0, 255, 0],
  };
  expect(JSON.parse(stdout)).toEqual({
    ...{ live: true, ready: true, 'model ready': true },
    server: ['InferenceServer', ['binary_tensor_data']],
    model: ['echo', ['1'], 2],
    ...{ typed: inferred, raw: inferred },
    ...{ unknown: 'NOT_FOUND', 'no version': 'INVALID_ARGUMENT' },
    ...{ 'unknown model': 'NOT_FOUND', wrong: 'INVALID_ARGUMENT' },
    binary: [200, [16, 6], inferred.x, inferred.t],
    json: [200, [inferred.x, ['für']]],
    error: [404, { error: 'There is no model of this name.' }],
  });
});
