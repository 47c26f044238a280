import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { encodeAuthRequest } from '@inference-server/protos';
import { keyOf, modelOf, type PrivateApi } from './private-api.js';
import {
  clientOf,
  doubles,
  echo,
  readyAt,
  requestOf,
  startReplica,
  startScene,
  type Asked,
  soon,
} from './scene.js';

const asked = requestOf({ x: doubles(1) });
const model = modelOf(1);
const key = keyOf('a');

/** The code with which a call ends; 0: it was answered. */
async function codeOf(
  how: Asked & { options?: Parameters<typeof startScene>[0]; before?: (api: PrivateApi) => void },
): Promise<number> {
  const { api, address } = await startScene({ anonymousRole: 'none', ...how.options });
  api.callers.set(key, {});
  how.before?.(api);
  const replica = await startReplica(echo);
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  return clientOf(address)
    .predict(asked, how)
    .then(
      () => 0,
      (error: unknown) => (error as { code: number }).code,
    );
}

test.each<[string, Parameters<typeof codeOf>[0], number]>([
  ['a key', { key }, 0],
  ['a key as x-token', { metadata: { 'x-token': key } }, 0],
  [
    'a token for this model',
    { key, before: (api) => void api.callers.set(key, { human_readable_id: 'echo' }) },
    0,
  ],
  [
    'a token for another',
    { key, before: (api) => void api.callers.set(key, { human_readable_id: 'b' }) },
    status.PERMISSION_DENIED,
  ],
  ['nothing', {}, status.UNAUTHENTICATED],
  ['an unknown key', { key: keyOf('w') }, status.UNAUTHENTICATED],
  ['what is no key', { key: 'secret' }, status.UNAUTHENTICATED],
  ['another scheme', { metadata: { authorization: 'Basic abc' } }, status.UNAUTHENTICATED],
  ['two keys', { key, metadata: { 'x-token': keyOf('b') } }, status.UNAUTHENTICATED],
  ['nothing, which is let in', { options: { anonymousRole: 'submit' } }, 0],
  [
    'nothing, by a proxy',
    { options: { anonymousRole: 'submit' }, metadata: { 'x-forwarded-for': '1.2.3.4' } },
    status.PERMISSION_DENIED,
  ],
  [
    'a key before the first key',
    { key, options: { isExposed: true }, before: (api) => void (api.hasKeys = false) },
    status.PERMISSION_DENIED,
  ],
])('%s', async (_what, how, code) => {
  expect(await codeOf(how)).toBe(code);
});

test('without a key the door is addressed as localhost', async () => {
  const { api, address } = await startScene();
  const replica = await startReplica(echo);
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const client = clientOf(address);
  await client.predict(asked);
  const { connect } = await import('node:http2');
  const session = connect(`http://${address}`);
  const stream = session.request({
    ...{ ':method': 'POST', ':path': '/tensorflow.serving.PredictionService/Predict' },
    ...{ ':authority': 'evil.example', 'content-type': 'application/grpc', te: 'trailers' },
  });
  const headers = await new Promise<Record<string, unknown>>((resolve) => {
    stream.once('response', (got) => resolve(got));
  });
  session.destroy();
  expect(headers['grpc-status']).toBe(String(status.PERMISSION_DENIED));
});

test('a call is cut within a second when its key is revoked', async () => {
  const { api, address } = await startScene({ anonymousRole: 'none' });
  api.callers.set(key, {});
  const cancelled: unknown[] = [];
  const replica = await startReplica((call) => call.on('cancelled', () => cancelled.push(call)));
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const pending = clientOf(address)
    .predict(asked, { key })
    .catch((error: unknown) => error);
  await expect.poll(() => api.reports.at(-1)?.holds[0]?.in_flight, soon).toBe(1);
  api.callers.clear();
  const began = performance.now();
  expect(await pending).toMatchObject({ code: status.UNAUTHENTICATED });
  expect(performance.now() - began).toBeLessThan(1_500);
  await expect.poll(() => cancelled.length, soon).toBe(1);
});

test('who was refused stands in the audit', async () => {
  const { api, address, gateway } = await startScene({ anonymousRole: 'none' });
  const { predict, unary } = clientOf(address);
  const shown = encodeAuthRequest(new Map(Object.entries({ model_name: 'echo', token: key })));
  await predict(asked).catch(() => undefined);
  for (const method of ['inference.GRPCInferenceService/ModelInfer', 'redhare.Inference/auth']) {
    await unary(`/${method}`, shown).catch(() => undefined);
  }
  await gateway.close();
  expect(api.refusals).toMatchObject(
    ['predict', 'modelInfer', 'auth'].map((operation_id) => ({
      ...{ code: 'UNAUTHORIZED', operation_id, times: 1 },
    })),
  );
});
