import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { newOperatorToken, rpcGatewayToken } from '@inference-server/service-kit';
import { freePort, startApp } from '@inference-server/testing';
import { modelOf, startPrivateApi } from '../private-api.js';
import { clientOf, outputsOf, readyAt, requestOf, startReplica, tensor } from '../scene.js';

const MiB = 1024 ** 2;

/** Resident memory of a process, now and at its highest (MiB). */
async function residentMib(pid: number): Promise<{ now: number; peak: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const of = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
  return { now: of('VmRSS'), peak: of('VmHWM') };
}

const content = Buffer.alloc(64 * MiB, 3);

test('messages of 64 MiB each way take less than four times as much, and are given back', async () => {
  const api = await startPrivateApi(rpcGatewayToken(newOperatorToken()));
  const ports = { grpc: await freePort(), http: await freePort() };
  const gateway = await startApp({
    app: 'rpc-gateway',
    settings: {
      GRPC_PORT: String(ports.grpc),
      HTTP_PORT: String(ports.http),
      PRIVATE_API_URL: api.url,
      RPC_GATEWAY_TOKEN: api.token,
      ANONYMOUS_ROLE: 'submit',
      LOG_LEVEL: 'warn',
    },
    ready: `http://127.0.0.1:${ports.http}/readyz`,
  });
  const request = requestOf({ x: tensor(2, [content.length / 8], content) });
  const answer = outputsOf(request);
  const replica = await startReplica((_call, done) => done(null, answer));
  const model = modelOf(1);
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const { predict } = clientOf(`127.0.0.1:${ports.grpc}`);
  const idle = (await residentMib(gateway.pid)).now;
  const times: number[] = [];
  for (let n = 0; n < 5; n += 1) {
    const began = performance.now();
    expect((await predict(request)).equals(answer)).toBe(true);
    times.push(Math.round(performance.now() - began));
  }
  const { peak } = await residentMib(gateway.pid);
  let after = Infinity;
  for (let n = 0; n < 20 && after > idle + 64; n += 1) {
    await sleep(500);
    after = (await residentMib(gateway.pid)).now;
  }
  console.log(
    `64 MiB: ${times.join(', ')} ms; resident ${Math.round(idle)} MiB, at most ${Math.round(peak)}, after it ${Math.round(after)}`,
  );
  expect(peak).toBeLessThan(256);
  expect(after).toBeLessThan(idle + 64);
  await gateway.stop();
}, 120_000);
