import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { beforeAll, expect, it } from 'vitest';
import type { DataTypeName, ModelContract, ModelField } from '@inference-server/contracts';
import { freePort, testFolder, waitUntil, whenFileEnds } from '@inference-server/testing';
import { moveToRegistry, startRegistry } from '../../faults/src/world/registry.js';
import { runServer, type RunningServer } from '../running-server.js';
import { compileDefinitions, pythonRuntimeImage } from '../warm/python-image.js';
import { warmModels } from '../warm/warm-models.js';

const run = promisify(execFile);
const numbers = [
  ...['float', 'double', 'int32', 'uint8', 'int16', 'int8', 'complex64', 'int64', 'bool', 'qint8'],
  ...['quint8', 'qint32', 'bfloat16', 'qint16', 'quint16', 'uint16', 'complex128', 'half'],
  ...['uint32', 'uint64'],
];
const fields: ModelField[] = [
  ...[...numbers, 'string'].map((name) => ({
    name,
    dtype: `DT_${name.toUpperCase()}` as DataTypeName,
    shape: [2],
  })),
  { name: 'order', dtype: 'DT_STRING', shape: [] },
];
const contract: ModelContract = {
  signature_name: 'predict',
  inputs: fields,
  outputs: fields,
};

let server: RunningServer;
let definitions: string;

beforeAll(async () => {
  server = await runServer();
  await server.startPrivateApi();
  await server.startGateway();
  await server.startPublicApi();
  await server.startConsumer('cpu', { SWEEP_INTERVAL_S: '1' });
  definitions = await compileDefinitions();
  const { dockerHost } = server.engine;
  const image = 'inference-server-test/python-runtime:1';
  await pythonRuntimeImage(image, definitions, dockerHost);
  const tag = `${new URL(await registryUrl()).host}/python-runtime:1`;
  await moveToRegistry(new URL(dockerHost).pathname, image, tag);
  await server.client.putModel({
    ...{ human_readable_id: 'python', container_tag: tag, kind: 'runtime' },
    ...{ contract, pull_policy: 'always', memory_mib: 256 },
  });
}, 240_000);

it('a container in Python, pulled from a registry, answers a Python client as its contract says', async () => {
  const { stdout } = await run(
    '/usr/bin/python3',
    [
      new URL('../warm/python_client.py', import.meta.url).pathname,
      definitions,
      server.grpcAddress,
      'python',
    ],
    { timeout: 200_000 },
  );
  const found = JSON.parse(stdout) as Record<string, unknown>;
  expect(found).toEqual({
    ...{ typed: [], packed: [], filled: [], status: 1 },
    'unknown model': expect.stringMatching(/^NOT_FOUND: /) as string,
    'unknown version': expect.stringMatching(/^NOT_FOUND: /) as string,
    'missing input': expect.stringMatching(/^INVALID_ARGUMENT: .*int8/) as string,
    'unknown input': expect.stringMatching(/^INVALID_ARGUMENT: (?!.*more)/) as string,
    'wrong type': expect.stringMatching(/^INVALID_ARGUMENT: .*float/) as string,
    'wrong shape': expect.stringMatching(/^INVALID_ARGUMENT: .*float/) as string,
    'no shape': false,
    ...Object.fromEntries(
      [
        [3, 'INVALID_ARGUMENT'],
        [5, 'NOT_FOUND'],
        [8, 'RESOURCE_EXHAUSTED'],
        [9, 'FAILED_PRECONDITION'],
        [13, 'INTERNAL'],
        [14, 'UNAVAILABLE'],
      ].map(([code, name]) => [`code ${code}`, `${name}: the runtime was told so`]),
    ),
    deadline: expect.stringMatching(/^DEADLINE_EXCEEDED/) as string,
    cancelled: true,
    garbage: 'INVALID_ARGUMENT',
    cut: 'INVALID_ARGUMENT',
    'after all': true,
  });
}, 240_000);

it('and plain JSON over HTTP', async () => {
  const inputs = {
    ...Object.fromEntries(numbers.map((name) => [name, [1, 0]])),
    ...{
      bool: [true, false],
      complex64: [
        [1, 2],
        [3, 4],
      ],
      complex128: [
        [1, 2],
        [3, 4],
      ],
    },
    ...{ int64: ['-9223372036854775808', 7], float: ['NaN', '-Infinity'] },
    ...{ string: ['text', { base64: '/wA=' }], order: '{}' },
  };
  const answer = await fetch(`${server.publicApiUrl}/api/models/python/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(inputs),
  });
  expect({ status: answer.status, body: await answer.json() }).toEqual({
    status: 200,
    body: inputs,
  });
});

it('has the server’s contract and the model’s files where it looks for them', async () => {
  const models = warmModels(server);
  const before = await models.replicasOf('python');
  expect(before[0]?.state).toBe('READY');
  await server.client.deleteModel('python');
  const isGone = async () => (await server.inEngine()).length === 0;
  expect(await waitUntil(isGone, { timeoutMs: 60_000 })).toBe(true);
  const [row] = await server.database.query<{ log: string }>('SELECT log FROM replicas');
  expect(row?.log).toContain(`serves python ['float', 'double'`);
});

/** Debian's registry: its address. */
async function registryUrl(): Promise<string> {
  const dataDir = await testFolder();
  const registry = await startRegistry({
    dataDir,
    logFile: `${dataDir}/registry.log`,
    environment: { PATH: process.env['PATH'] },
    signal: AbortSignal.timeout(60_000),
    port: await freePort(),
  });
  whenFileEnds('docker-registry', registry.stop);
  return registry.url;
}
