import { readFile } from 'node:fs/promises';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  buildFromFiles,
  directory,
  file,
  nodeRootfs,
} from '@inference-server/example-image-import';
import {
  encodeInputs,
  encodeModelSpec,
  plainOutputs,
  tensorsOfValues,
} from '@inference-server/protos';
import { waitUntil, type TestApp } from '@inference-server/testing';
import { runServer, type RunningServer } from '../running-server.js';

let server: RunningServer;
let privateApi: TestApp;

beforeAll(async () => {
  server = await runServer();
  privateApi = await server.startPrivateApi();
  await server.startGateway();
  await server.startPublicApi();
  await server.startConsumer();
  const container_tag = await obedientImage(server.engine.dockerHost);
  await server.client.postModel({ human_readable_id: 'obedient', container_tag, memory_mib: 256 });
}, 120_000);

async function ask(inputs: object, signal = AbortSignal.timeout(60_000)) {
  const answer = await fetch(`${server.publicApiUrl}/api/models/obedient/predict`, {
    ...{ method: 'POST', headers: { 'content-type': 'application/json' }, signal },
    body: JSON.stringify(inputs),
  });
  return { status: answer.status, told: (await answer.json()) as Record<string, unknown> };
}

const asIs = (bytes: Buffer) => bytes;

async function askByGrpc(
  values: Record<string, unknown>,
  deadlineMs = 60_000,
): Promise<Record<string, unknown>> {
  const client = new Client(server.grpcAddress, credentials.createInsecure());
  const spec = encodeModelSpec({ name: 'obedient', signatureName: '' });
  const request = Buffer.concat([spec, ...encodeInputs(tensorsOfValues(values))]);
  try {
    const answer = await new Promise<Buffer>((resolve, reject) => {
      client.makeUnaryRequest(
        ...(['/tensorflow.serving.PredictionService/Predict', asIs, asIs, request] as const),
        ...([new Metadata(), { deadline: Date.now() + deadlineMs }] as const),
        (error: ServiceError | null, bytes?: Buffer) =>
          bytes === undefined ? reject(error ?? new Error('no answer')) : resolve(bytes),
      );
    });
    return plainOutputs({ outputs: [] }, answer);
  } finally {
    client.close();
  }
}

async function tasksIn(...states: string[]): Promise<string[]> {
  const rows = await server.database.query<{ uid: string }>(
    'SELECT uid FROM tasks WHERE state::text = ANY ($1) ORDER BY created_at',
    [states],
  );
  return rows.map(({ uid }) => uid);
}

const until = async (isSo: () => Promise<boolean>) =>
  expect(await waitUntil(isSo, { timeoutMs: 30_000 })).toBe(true);
const untilOneRuns = () => until(async () => (await tasksIn('RUNNING')).length === 1);
const untilNoneIsLeft = () =>
  until(async () => (await tasksIn('PENDING', 'QUEUED', 'RUNNING')).length === 0);

describe('a batch model', () => {
  it('answers over HTTP, bytes in and out', async () => {
    const image = Buffer.from([0xff, 1, 2]);
    expect(
      await ask({ n: [1, 2.5], text: 'für', image: { base64: image.toString('base64') } }),
    ).toEqual({ status: 200, told: { n: [1, 2.5], text: 'für', image: { base64: 'AgH/' } } });
  }, 60_000);

  it('answers by gRPC with tensors', async () => {
    const image = Uint8Array.of(0xff, 1, 2);
    const values = { n: [[1], [2 ** 40]], text: ['für'], image, yes: true };
    expect(await askByGrpc(values)).toEqual({ ...values, image: Uint8Array.of(2, 1, 0xff) });
  }, 60_000);

  it('that fails is told in its own words', async () => {
    const { status, told } = await ask({ fail: 'the image has no pixels' });
    expect([status, told]).toMatchObject([502, { code: 'MODEL_ERROR' }]);
    expect(told['detail']).toContain('the image has no pixels');
    await expect(askByGrpc({ fail: 'nothing to see' })).rejects.toMatchObject({
      details: expect.stringContaining('nothing to see') as string,
    });
  }, 60_000);

  it('that writes no outputs.json is told so', async () => {
    const { status, told } = await ask({ silent: true });
    expect([status, told]).toMatchObject([
      502,
      { detail: expect.stringContaining('outputs.json') as string },
    ]);
  }, 60_000);
});

describe('a task that nobody waits for', () => {
  it('is cancelled when the caller goes, or its time is over', async () => {
    const going = new AbortController();
    const asked = ask({ sleep_ms: 120_000 }, going.signal);
    await untilOneRuns();
    going.abort();
    await expect(asked).rejects.toThrow();
    await untilNoneIsLeft();
    await expect(askByGrpc({ sleep_ms: 120_000 }, 3_000)).rejects.toMatchObject({ code: 4 });
    await untilNoneIsLeft();
    expect((await tasksIn('CANCELLED')).length).toBe(2);
  }, 90_000);
});

it('private-api may be killed while a call waits, and comes back', async () => {
  const asked = ask({ sleep_ms: 4_000, n: 1 });
  await untilOneRuns();
  await privateApi.kill();
  privateApi = await server.startPrivateApi();
  expect(await asked).toEqual({ status: 200, told: { sleep_ms: 4_000, n: 1 } });
}, 90_000);

async function obedientImage(dockerHost: string): Promise<string> {
  const signal = AbortSignal.timeout(120_000);
  const source = new URL('../warm/obedient-batch.mjs', import.meta.url);
  return await buildFromFiles({
    tag: 'inference-server-test/obedient-batch:1',
    entries: [
      ...(await nodeRootfs({ signal })),
      directory('app'),
      file('app/model.mjs', await readFile(source)),
    ],
    changes: ['CMD ["node", "/app/model.mjs"]', 'USER 1000', 'ENV PATH=/usr/bin'],
    dockerHost,
    signal,
  });
}
