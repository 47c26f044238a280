import { status } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { callerHeader, writeCaller, type ModelContract } from '@inference-server/contracts';
import { modelOf, tokens } from './private-api.js';
import { echo, readyAt, startReplica, startScene, soon } from './scene.js';

const contract: ModelContract = {
  signature_name: 'predict',
  inputs: [
    { name: 'n', dtype: 'DT_INT64', shape: [-1, 2] },
    { name: 't', dtype: 'DT_STRING', shape: [] },
  ],
  outputs: [
    { name: 'n', dtype: 'DT_INT64', shape: [-1, 2] },
    { name: 't', dtype: 'DT_STRING', shape: [] },
  ],
};
const model = modelOf(1, { contract });
const caller = writeCaller({
  ...{ owner: 'key:a', role: 'submit', credential: 'key:a', address: '10.0.0.1' },
});
const headers = {
  authorization: `Bearer ${tokens.relay}`,
  [callerHeader]: caller,
  'content-type': 'application/json',
};

async function ask(
  body: string,
  {
    path = '/api/models/echo/predict',
    with: more = {},
    options = {},
    fails = false,
  }: {
    path?: string;
    with?: Record<string, string>;
    options?: Parameters<typeof startScene>[0];
    fails?: boolean;
  } = {},
): Promise<{ status: number; text: string }> {
  const { api, httpUrl } = await startScene(options);
  const replica = await startReplica((call, done) => {
    if (fails) done({ code: status.FAILED_PRECONDITION, details: 'not today' });
    else echo(call, done);
  });
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  const answer = await fetch(httpUrl + path, {
    method: 'POST',
    headers: { ...headers, ...more },
    body,
  });
  return { status: answer.status, text: await answer.text() };
}

const good = '{"n": [[1, 9007199254740993], [-3, 4]], "t": "für"}';

describe('predict as JSON', () => {
  test('is answered, exactly', async () => {
    const { status: code, text } = await ask(good);
    expect([code, text]).toEqual([200, '{"n":[[1,"9007199254740993"],[-3,4]],"t":"für"}']);
  });

  test.each<[string, number, string, Parameters<typeof ask>]>([
    ['no JSON', 400, 'MALFORMED_REQUEST', ['{"n": ']],
    ['a missing input', 422, 'VALIDATION_FAILED', ['{"n": [[1, 2]]}']],
    ['another type', 422, 'VALIDATION_FAILED', ['{"n": [["x", 2]], "t": "a"}']],
    ['another model', 550, 'MODEL_NOT_FOUND', [good, { path: '/api/models/b/predict' }]],
    [
      ...(['another version', 550, 'MODEL_NOT_FOUND'] as const),
      [good, { path: '/api/models/echo/predict?version=7' }],
    ],
    [
      ...(['an unknown parameter', 422, 'VALIDATION_FAILED'] as const),
      [good, { path: '/api/models/echo/predict?a=b' }],
    ],
    [
      ...(['no relay', 401, 'UNAUTHORIZED'] as const),
      [good, { with: { authorization: `Bearer ${tokens.gateway}` } }],
    ],
    [
      ...(['no token of a relay', 401, 'UNAUTHORIZED'] as const),
      [good, { options: { relayToken: undefined } }],
    ],
    ['nobody', 400, 'MALFORMED_REQUEST', [good, { with: { [callerHeader]: '{}' } }]],
    ['too much', 413, 'PAYLOAD_TOO_LARGE', [good, { options: { maxJsonBytes: 10 } }]],
    // Nothing else is held: there is no use in coming again.
    ['too many bytes', 413, 'PAYLOAD_TOO_LARGE', [good, { options: { maxQueuedBytes: 100 } }]],
    ['too large an answer', 502, 'MODEL_ERROR', [good, { options: { maxQueuedBytes: 300 } }]],
    [
      ...(['another kind', 415, 'UNSUPPORTED_MEDIA_TYPE'] as const),
      [good, { with: { 'content-type': 'text/plain' } }],
    ],
    ['a model that fails', 502, 'MODEL_ERROR', [good, { fails: true }]],
  ])('%s: %i %s', async (_what, code, name, how) => {
    const { status: got, text } = await ask(...how);
    expect([got, (JSON.parse(text) as { code: string }).code]).toEqual([code, name]);
    if (how[1]?.fails === true) expect(text).toContain('FAILED_PRECONDITION: not today');
  });

  test('in time or not at all', async () => {
    const { api, httpUrl } = await startScene({ maxCallMs: 300 });
    api.tell({ models: [model] });
    await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
    const url = `${httpUrl}/api/models/echo/predict`;
    const answer = await fetch(url, { method: 'POST', headers, body: good });
    expect(answer.status).toBe(504);
  });
});

test('a body is read anew where another version takes the call than was there when it came', async () => {
  const { api, httpUrl } = await startScene();
  const fields = (dtype: 'DT_DOUBLE' | 'DT_INT64') => [{ name: 'x', dtype, shape: [-1] }];
  const versionOf = (n: number, dtype: 'DT_DOUBLE' | 'DT_INT64', isCurrent: boolean) => {
    const usual = { ...contract, inputs: fields(dtype), outputs: fields(dtype) };
    return modelOf(n, { contract: usual, is_current: isCurrent });
  };
  api.tell({ models: [versionOf(1, 'DT_DOUBLE', true)] });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  const url = `${httpUrl}/api/models/echo/predict`;
  const asked = fetch(url, { method: 'POST', headers, body: '{"x": [1, 2]}' });
  await expect.poll(() => api.reports.at(-1)?.demand[0]?.waiting, soon).toBe(1);
  const replica = await startReplica(echo);
  const next = versionOf(2, 'DT_INT64', true);
  api.tell({
    models: [versionOf(1, 'DT_DOUBLE', false), next],
    replicas: readyAt(next, replica.address),
  });
  const answer = await asked;
  expect([answer.status, await answer.text()]).toEqual([200, '{"x":[1,2]}']);
});

test('health tells whether there were news', async () => {
  const { api, httpUrl } = await startScene();
  expect((await fetch(`${httpUrl}/healthz`)).status).toBe(200);
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(0);
  await expect.poll(async () => (await fetch(`${httpUrl}/readyz`)).status, soon).toBe(200);
});
