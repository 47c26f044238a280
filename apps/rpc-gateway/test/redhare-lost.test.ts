import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { status } from '@grpc/grpc-js';
import { expect, onTestFinished, test } from 'vitest';
import { modelOf } from './private-api.js';
import { openStream, startStreams, textContract, textModel } from './redhare-scene.js';
import { echo, readyAt, soon, startReplica } from './scene.js';

const numbers = (count: number) => Array.from({ length: count }, (_, n) => String(n));

/** A replica that takes calls, and is gone with the n-th, each time. */
async function lostReplica(isLostAt: (call: number) => boolean) {
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer();
  let calls = 0;
  server.on('session', (session) => {
    sessions.add(session);
    session.on('error', () => undefined);
  });
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => undefined);
    stream.once('data', () => {
      calls += 1;
      if (isLostAt(calls)) for (const session of sessions) session.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const end = () => {
    for (const session of sessions) session.destroy();
    server.close();
  };
  onTestFinished(end);
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { address, end, callsSoFar: () => calls };
}

test('a replica that is killed is replaced under a stream: nothing is lost, twice or out of order', async () => {
  const model = textModel({ target_in_flight: 4 });
  const { api, address } = await startStreams({ model, replicas: [] });
  const killed = await startReplica((call, done) => {
    asked += 1;
    if (asked === 40) killed.server.forceShutdown();
    else if (asked < 40) setTimeout(() => echo(call, done), asked % 5);
  });
  let asked = 0;
  const other = await startReplica((call, done) => void setTimeout(() => echo(call, done), 2));
  api.tell({ replicas: readyAt(model, killed.address, other.address) });
  const { send, stream, answers, ended } = openStream(address);
  send(...numbers(300));
  stream.end();
  expect(await ended).toBe(undefined);
  expect(asked).toBeGreaterThanOrEqual(40);
  expect(answers).toEqual(numbers(300));
});

test('the only replica is killed, and the next one is waited for', async () => {
  const { api, address, model } = await startStreams({ replicas: [] });
  const lost = await lostReplica((call) => call === 5);
  api.tell({ replicas: readyAt(model, lost.address) });
  const { send, stream, answers, ended } = openStream(address);
  send(...numbers(30));
  await expect.poll(lost.callsSoFar, soon).toBeGreaterThanOrEqual(5);
  lost.end();
  const next = await startReplica(echo);
  api.tell({ replicas: readyAt(model, next.address) });
  stream.end();
  expect(await ended).toBe(undefined);
  expect(answers).toEqual(numbers(30));
});

test('what goes together with others is sent again, too', async () => {
  const fields = [{ name: 'x', dtype: 'DT_STRING' as const, shape: [-1] }];
  const model = modelOf(1, {
    contract: { ...textContract, inputs: fields, outputs: fields },
    ...{ max_batch_size: 4, max_delay_ms: 20 },
  });
  const { api, address } = await startStreams({ model, replicas: [] });
  const lost = await lostReplica(() => true);
  const other = await startReplica(echo);
  api.tell({ replicas: readyAt(model, lost.address, other.address) });
  const { send, stream, answers, ended } = openStream(address);
  send(...numbers(16));
  stream.end();
  expect(await ended).toBe(undefined);
  expect(lost.callsSoFar()).toBeGreaterThan(0);
  expect(answers).toEqual(numbers(16));
});

test('data with which three replicas were lost is what ends them: UNAVAILABLE', async () => {
  const { api, address, model } = await startStreams({ replicas: [] });
  const lost = await lostReplica(() => true);
  const second = await lostReplica(() => true);
  api.tell({ replicas: readyAt(model, lost.address, second.address) });
  const { send, ended } = openStream(address);
  send('a');
  const error = await ended;
  expect(error).toMatchObject({ code: status.UNAVAILABLE });
  expect(error?.details).toContain('The replica that had the call was lost');
  expect(lost.callsSoFar() + second.callsSoFar()).toBe(3);
});
