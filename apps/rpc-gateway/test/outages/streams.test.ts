import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials } from '@grpc/grpc-js';
import { expect, onTestFinished, test } from 'vitest';
import { encodeStreamRequest } from '@inference-server/protos';
import { newOperatorToken, rpcGatewayToken } from '@inference-server/service-kit';
import { freePort, startApp } from '@inference-server/testing';
import { startPrivateApi } from '../private-api.js';
import { textModel, textOf, token } from '../redhare-scene.js';
import { asIs, echo, readyAt, soon, startReplica } from '../scene.js';

const messages = 200;

/** Resident memory of a process (KiB). */
async function residentKib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]);
}

/** The gateway as a process of its own, a model of text, and streams over so many connections. */
async function startGateway(connections: number) {
  const api = await startPrivateApi(rpcGatewayToken(newOperatorToken()));
  api.callers.set(token, { human_readable_id: 'echo' });
  const ports = { grpc: await freePort(), http: await freePort() };
  const gateway = await startApp({
    app: 'rpc-gateway',
    settings: {
      GRPC_PORT: String(ports.grpc),
      HTTP_PORT: String(ports.http),
      PRIVATE_API_URL: api.url,
      RPC_GATEWAY_TOKEN: api.token,
      LOG_LEVEL: 'warn',
    },
    ready: `http://127.0.0.1:${ports.http}/readyz`,
  });
  const replica = await startReplica(echo);
  const model = textModel();
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  const clients = Array.from({ length: connections }, () => {
    const options = { 'grpc.use_local_subchannel_pool': 1 };
    const client = new Client(`127.0.0.1:${ports.grpc}`, credentials.createInsecure(), options);
    onTestFinished(() => client.close());
    return client;
  });
  const open = (n: number) => {
    const client = clients[n % connections] ?? expect.fail('no client');
    const stream = client.makeBidiStreamRequest('/redhare.Inference/stream_infer', asIs, asIs);
    stream.on('error', () => undefined);
    stream.write(Buffer.concat(encodeStreamRequest({ token })));
    return stream;
  };
  const infer = (stream: ReturnType<typeof open>, data: string) =>
    stream.write(Buffer.concat(encodeStreamRequest({ data: Buffer.from(data) })));
  return { gateway, open, infer };
}

test('a thousand streams that are idle take less than 100 KB each', async () => {
  const { gateway, open, infer } = await startGateway(5);
  const before = await residentKib(gateway.pid);
  const streams = [];
  for (let n = 0; n < 1_000; n += 100) {
    const some = Array.from({ length: 100 }, (_, one) => open(n + one));
    streams.push(...some);
    const answers = some.map((stream) => new Promise((resolve) => stream.once('data', resolve)));
    for (const stream of some) infer(stream, 'a');
    await Promise.all(answers);
  }
  await sleep(2_000);
  const each = ((await residentKib(gateway.pid)) - before) / streams.length;
  console.log(`1000 idle streams: ${each.toFixed(1)} KiB each, beside ${before} KiB`);
  expect(each).toBeLessThan(100);
  for (const stream of streams) stream.cancel();
  await gateway.stop();
}, 120_000);

test('a hundred streams of many messages of 10 KB are answered in order, in flat memory', async () => {
  const { gateway, open, infer } = await startGateway(4);
  const idle = await residentKib(gateway.pid);
  const halves: number[] = [idle, idle];
  let answered = 0;
  const watch = setInterval(() => {
    const half = answered < 50 * messages ? 0 : 1;
    void residentKib(gateway.pid).then((now) => (halves[half] = Math.max(halves[half] ?? 0, now)));
  }, 100);
  const began = performance.now();
  const all = Array.from({ length: 100 }, async (_, one) => {
    const stream = open(one);
    const dataOf = (n: number) => `${one}:${n}:`.padEnd(10_000, '.');
    let [next, got, isInOrder] = [0, 0, true];
    const sendOn = () => {
      for (let isTaken = true; isTaken && next < messages; next += 1)
        isTaken = infer(stream, dataOf(next));
      if (next === messages) stream.end();
    };
    stream.on('drain', sendOn);
    sendOn();
    stream.on('data', (message: Buffer) => {
      isInOrder &&= textOf(message) === dataOf(got);
      got += 1;
      answered += 1;
    });
    await new Promise((resolve, reject) => stream.once('end', resolve).once('error', reject));
    expect([got, isInOrder]).toEqual([messages, true]);
  });
  await Promise.all(all);
  clearInterval(watch);
  const seconds = (performance.now() - began) / 1000;
  const mib = [idle, ...halves].map((kib) => Math.round(kib / 1024));
  console.log(
    `100 streams of ${messages} messages: ${seconds.toFixed(1)} s; resident ${mib[0]} MiB idle, at most ${mib[1]} in the first half, ${mib[2]} in the second`,
  );
  expect(halves[1]).toBeLessThan((halves[0] ?? 0) * 1.25);
  expect(halves[1]).toBeLessThan(idle + 256 * 1024);
  await gateway.stop();
}, 300_000);
