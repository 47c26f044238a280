// The client of the benchmark of calls: a process of its own, told by its parent what to do.
import { setTimeout as sleep } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';
import { takeOrders } from '../client-process.js';
import { entry, message, number } from '../proto-fields.js';

type Order = { address: string; model: string } & (
  | { kind: 'latency'; bytes: number; calls: number }
  | { kind: 'throughput'; bytes: number; concurrency: number; seconds: number }
  | { kind: 'firstAnswer'; timeoutMs: number }
);

const clients = new Map<string, grpc.Client>();

takeOrders(run);

async function run(order: Order): Promise<number[] | number> {
  switch (order.kind) {
    case 'latency':
      return latency(order);
    case 'throughput':
      return throughput(order);
    case 'firstAnswer':
      return firstAnswer(order);
  }
}

async function latency(order: Order & { kind: 'latency' }): Promise<number[]> {
  const request = requestOf(order.model, order.bytes);
  const times: number[] = [];
  for (let call = 0; call < order.calls; call += 1) {
    const began = performance.now();
    await predict(order.address, request, order.bytes);
    times.push(performance.now() - began);
  }
  return times;
}

async function throughput(order: Order & { kind: 'throughput' }): Promise<number> {
  const request = requestOf(order.model, order.bytes);
  const began = performance.now();
  const until = began + order.seconds * 1000;
  let answers = 0;
  await Promise.all(
    Array.from({ length: order.concurrency }, async () => {
      while (performance.now() < until) {
        await predict(order.address, request, order.bytes);
        answers += 1;
      }
    }),
  );
  return answers / ((performance.now() - began) / 1000);
}

/** A port that nobody listens at yet is asked again at once: a start is over when the first answer is there. */
async function firstAnswer(order: Order & { kind: 'firstAnswer' }): Promise<number> {
  const request = requestOf(order.model, 16);
  const began = performance.now();
  for (;;) {
    const client = new grpc.Client(order.address, grpc.credentials.createInsecure(), options);
    try {
      await call(client, request, order.timeoutMs);
      return performance.now() - began;
    } catch (error) {
      if (performance.now() - began > order.timeoutMs) throw error;
      await sleep(5);
    } finally {
      client.close();
    }
  }
}

async function predict(address: string, request: Buffer, bytes: number): Promise<void> {
  const client =
    clients.get(address) ?? new grpc.Client(address, grpc.credentials.createInsecure(), options);
  clients.set(address, client);
  const answer = await call(client, request, 60_000);
  if (answer.length < bytes) throw new Error(`An answer has ${answer.length} bytes.`);
}

function call(client: grpc.Client, request: Buffer, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      '/tensorflow.serving.PredictionService/Predict',
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      request,
      { deadline: Date.now() + timeoutMs },
      (error, answer) => {
        if (error === null && answer !== undefined) resolve(answer);
        else reject(error ?? new Error('no answer'));
      },
    );
  });
}

/** A PredictRequest with one DT_UINT8 input `x` of so many bytes. */
function requestOf(model: string, bytes: number): Buffer {
  const tensor = Buffer.concat([
    number(1, 4),
    // tensor_shape { dim { size } }
    message(2, message(2, number(1, bytes))),
    message(4, Buffer.alloc(bytes, 7)),
  ]);
  return Buffer.concat([message(1, message(1, model)), entry(2, 'x', tensor)]);
}

const options = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
};
