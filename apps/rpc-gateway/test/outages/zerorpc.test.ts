import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { newOperatorToken, rpcGatewayToken } from '@inference-server/service-kit';
import { freePort, runClient, startApp, startClient, startPeers } from '@inference-server/testing';
import { modelOf, startPrivateApi } from '../private-api.js';
import { deferred, outputsOf, readyAt, startReplica } from '../scene.js';
import { contract, errorOf, okOf, startDoor } from '../zerorpc-scene.js';

const data = { text: 'a', ids: [1] };
const slow = modelOf(30, { human_readable_id: 'slow', contract });

test('a call of 20 s lives by heartbeats both ways, and one whose client is silent is cancelled', async () => {
  const cancelled = deferred();
  const { api, port } = await startDoor();
  const replica = await startReplica((call, done) => {
    call.on('cancelled', () => cancelled.resolve());
    void sleep(20_000).then(() => done(null, outputsOf(call.request)));
  });
  api.tell({ models: [slow], replicas: readyAt(slow, replica.address) });
  const run = (options: object) => runClient(port, options, 'slow_predict', data);
  const [active, passive, second, silent] = await Promise.all([
    run({}),
    run({ passive: true }),
    run({ v: 2 }),
    run({ silent: true }),
  ]);
  for (const told of [active, passive, second]) {
    expect(told.at(-1)).toMatchObject({ what: 'result', value: data });
    expect(told.at(-1)!.seconds).toBeGreaterThan(19.5);
    // One more may come just before the answer.
    const beats = told.filter(({ what, seconds }) => what === 'beat' && seconds < 18);
    expect(beats).toHaveLength(3);
  }
  expect(silent.at(-1)).toMatchObject({
    what: 'RemoteError',
    value: ['LostRemote', 'Lost remote after 10s heartbeat', expect.any(String)],
  });
  await cancelled.promise;
}, 60_000);

test('a call whose client vanishes is cancelled in the container', async () => {
  const [begun, cancelled] = [deferred(), deferred()];
  const { api, port } = await startDoor();
  const replica = await startReplica((call) => {
    begun.resolve();
    call.on('cancelled', () => cancelled.resolve());
  });
  api.tell({ models: [slow], replicas: readyAt(slow, replica.address) });
  const client = startClient(port, {}, 'slow_predict', data);
  await begun.promise;
  client.kill();
  await cancelled.promise;
}, 60_000);

/** The gateway as a process, at ports that it finds again. */
async function startGateways() {
  const api = await startPrivateApi(rpcGatewayToken(newOperatorToken()));
  const ports = { grpc: await freePort(), http: await freePort(), zerorpc: await freePort() };
  const start = () =>
    startApp({
      app: 'rpc-gateway',
      settings: {
        GRPC_PORT: String(ports.grpc),
        HTTP_PORT: String(ports.http),
        ZERORPC_PORT: String(ports.zerorpc),
        PRIVATE_API_URL: api.url,
        RPC_GATEWAY_TOKEN: api.token,
        ANONYMOUS_ROLE: 'submit',
        STOP_GRACE_S: '1',
        LOG_LEVEL: 'warn',
      },
      ready: `http://127.0.0.1:${ports.http}/readyz`,
    });
  return { api, port: ports.zerorpc, start };
}

test('a gateway that is restarted: calls end with an error, and the client goes on', async () => {
  const { api, port, start } = await startGateways();
  const first = await start();
  const begun = deferred();
  let isSlow = true;
  const replica = await startReplica((call, done) => {
    begun.resolve();
    if (!isSlow) done(null, outputsOf(call.request));
  });
  api.tell({ models: [slow], replicas: readyAt(slow, replica.address) });
  const peers = await startPeers(port);
  const pending = peers.call('slow_predict', [data]);
  await begun.promise;
  await first.stop();
  expect(await peers.next(pending)).toMatchObject(
    errorOf('ServerStopping', 'The server is stopping.'),
  );
  isSlow = false;
  const second = await start();
  // By the same sockets.
  expect(await peers.next(peers.call('slow_predict', [data]))).toMatchObject(okOf(data));
  await second.stop();
}, 60_000);

test('a gateway that is killed is missed after two heartbeats, and the next one answers', async () => {
  const { api, port, start } = await startGateways();
  const first = await start();
  const begun = deferred();
  let isSlow = true;
  const replica = await startReplica((call, done) => {
    begun.resolve();
    if (!isSlow) done(null, outputsOf(call.request));
  });
  api.tell({ models: [slow], replicas: readyAt(slow, replica.address) });
  const client = startClient(port, {}, 'slow_predict', data);
  await begun.promise;
  await first.kill();
  isSlow = false;
  const second = await start();
  const again = (await runClient(port, {}, 'slow_predict', data)).at(-1);
  expect(again).toMatchObject({ what: 'result', value: data });
  expect((await client.told()).at(-1)).toMatchObject({ what: 'LostRemote' });
  await second.stop();
}, 60_000);
