import { expect, test } from 'vitest';
import { maxInvocationContentBytes, type ModelField } from '@inference-server/contracts';
import { decodeInvocationResponse, encodeInvocationRequest } from '@inference-server/protos';
import { startGatewayProcess } from '../gateway-process.js';
import { modelOf } from '../private-api.js';
import { clientOf, outputsOf, readyAt, requestOf, startReplica, tensor } from '../scene.js';

const MiB = 1024 ** 2;

/** Has a gateway called five times, and sees what it takes then, and later. */
async function expectMemory(
  what: string,
  maxMib: number,
  { residentMib, residentAtRest }: Awaited<ReturnType<typeof startGatewayProcess>>,
  call: () => Promise<void>,
): Promise<void> {
  const idle = (await residentMib()).now;
  const times: number[] = [];
  for (let n = 0; n < 5; n += 1) {
    const began = performance.now();
    await call();
    times.push(Math.round(performance.now() - began));
  }
  const { peak } = await residentMib();
  const after = await residentAtRest(idle + 64);
  console.log(
    `${what}: ${times.join(', ')} ms; resident ${Math.round(idle)} MiB, at most ${Math.round(peak)}, after it ${Math.round(after)}`,
  );
  expect(peak).toBeLessThan(maxMib);
  expect(after).toBeLessThan(idle + 64);
}

test('messages of 64 MiB each way take less than four times as much, and are given back', async () => {
  const started = await startGatewayProcess();
  const content = Buffer.alloc(64 * MiB, 3);
  const request = requestOf({ x: tensor(2, [content.length / 8], content) });
  const answer = outputsOf(request);
  const replica = await startReplica((_call, done) => done(null, answer));
  const model = modelOf(1);
  started.api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const { predict } = clientOf(started.address);
  await expectMemory('64 MiB', 256, started, async () => {
    expect((await predict(request)).equals(answer)).toBe(true);
  });
  await started.gateway.stop();
}, 120_000);

test('the largest contents of invocations take that and a copy twice, and are given back', async () => {
  const started = await startGatewayProcess({ DEFAULT_INVOCATION_MODEL: 'echo' });
  const { api } = started;
  const content = Buffer.alloc(maxInvocationContentBytes, 'base64+/');
  const request = Buffer.concat(encodeInvocationRequest({ id: 1, content, metadata: [] }));
  const replica = await startReplica((_call, done) => done(null, Buffer.alloc(0)));
  const inputs: ModelField[] = [{ name: 'x', dtype: 'DT_STRING', shape: [] }];
  const model = modelOf(1, { contract: { signature_name: 'predict', inputs, outputs: inputs } });
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const { unary } = clientOf(started.address);
  await expectMemory('an invocation of 64 MiB', 384, started, async () => {
    const answer = await unary('/invocation.v1.Invocation/Invoke', request);
    expect(decodeInvocationResponse(answer)).toEqual({ status: 'OK', message: '' });
    expect(api.invocations.pop()?.content.equals(content)).toBe(true);
  });
  await started.gateway.stop();
}, 120_000);

test('the largest contents that are read as JSON take less than eight times as much, and are given back', async () => {
  const started = await startGatewayProcess({ DEFAULT_INVOCATION_MODEL: 'echo' });
  const { api } = started;
  const text = 'base64+/'.repeat(maxInvocationContentBytes / 8 - 8) + '€';
  const content = Buffer.from(JSON.stringify({ n: 1, x: text }));
  const request = Buffer.concat(encodeInvocationRequest({ id: 1, content, metadata: [] }));
  const replica = await startReplica((_call, done) => done(null, Buffer.alloc(0)));
  const inputs: ModelField[] = [
    { name: 'n', dtype: 'DT_INT64', shape: [] },
    { name: 'x', dtype: 'DT_STRING', shape: [] },
  ];
  const model = modelOf(1, { contract: { signature_name: 'predict', inputs, outputs: inputs } });
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const { unary } = clientOf(started.address);
  await expectMemory('an invocation with 64 MiB of JSON', 640, started, async () => {
    const answer = await unary('/invocation.v1.Invocation/Invoke', request);
    expect(decodeInvocationResponse(answer)).toEqual({ status: 'OK', message: '' });
    expect(api.invocations.pop()?.content.equals(content)).toBe(true);
  });
  await started.gateway.stop();
}, 120_000);
