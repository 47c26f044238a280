import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, inject, test } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { keyOf, modelOf } from './private-api.js';
import { startStreams } from './redhare-scene.js';
import { echo, readyAt, startReplica, startScene, soon } from './scene.js';

const run = promisify(execFile);

/** Definitions that Debian's protoc compiles from our .proto files, with its plugin for gRPC. */
async function compiledProtos(): Promise<string> {
  const protos = join(inject('repository'), 'packages/protos/proto');
  const folder = join(await testFolder(), 'compiled');
  mkdirSync(folder);
  const services = ['prediction_service', 'health', 'reflection_v1', 'reflection_v1alpha'];
  execFileSync('protoc', [
    ...['-I', protos, `--python_out=${folder}`, `--grpc_python_out=${folder}`],
    '--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin',
    ...['tensor', 'predict'].map((name) => `hydrosphere/${name}.proto`),
    ...services.map((name) => `services/${name}.proto`),
    ...['invocation/v1/invocation.proto', 'model/v1/model.proto'],
    'redhare/inference.proto',
  ]);
  return folder;
}

test('a client in Python predicts, invokes, and asks for health and for what there is', async () => {
  const { api, address } = await startScene();
  const replica = await startReplica(echo);
  const model = modelOf(1);
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  const script = join(inject('repository'), 'apps/rpc-gateway/test/client.py');
  const { stdout } = await run('/usr/bin/python3', [script, await compiledProtos(), address], {
    env: { PYTHONDONTWRITEBYTECODE: '1' },
    timeout: 25_000,
  });
  const services = [
    'grpc.health.v1.Health',
    'grpc.reflection.v1.ServerReflection',
    'grpc.reflection.v1alpha.ServerReflection',
    'inference.GRPCInferenceService',
    'invocation.v1.Invocation',
    'redhare.Inference',
    'tensorflow.serving.PredictionService',
  ];
  const reflected = { services, files: [5, 1], error: 5 };
  expect(JSON.parse(stdout)).toEqual({
    predict: [1.5, -2],
    gzip: true,
    invoke: ['OK', ''],
    'invoke in vain': ['ERROR', 'The content is no JSON.'],
    unknown: 'NOT_FOUND',
    parallel: true,
    health: 1,
    'unknown service': 'NOT_FOUND',
    watched: [1],
    status: 1,
    v1: reflected,
    v1alpha: reflected,
  });
});

test('a client in Python gets a token, and streams', async () => {
  const { api, address } = await startStreams();
  const key = keyOf('a');
  api.callers.set(key, {});
  api.people.set('ada', 'correct horse');
  const script = join(inject('repository'), 'apps/rpc-gateway/test/stream_client.py');
  const { stdout } = await run('/usr/bin/python3', [script, await compiledProtos(), address, key], {
    env: { PYTHONDONTWRITEBYTECODE: '1' },
    timeout: 100_000,
  });
  expect(JSON.parse(stdout)).toEqual({
    url: address,
    'in order': true,
    empty: true,
    nothing: [],
    'one by one': true,
    parallel: Array.from({ length: 8 }, () => true),
    login: address,
    'wrong password': 'UNAUTHENTICATED',
    'no credentials': 'UNAUTHENTICATED',
    'unknown model': 'NOT_FOUND',
    'wrong token': 'UNAUTHENTICATED',
    'data first': 'FAILED_PRECONDITION',
  });
}, 120_000);
