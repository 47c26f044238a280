// The client of the benchmark of doors: a process of its own, told by its parent what to do.
import { once } from 'node:events';
import { takeOrders } from '../client-process.js';
import { datum, doorCalls, openStream, type Door, type Doors } from './door-calls.js';

type Order =
  | { kind: 'open'; doors: Doors }
  | { kind: 'latency'; door: Door; bytes: number; calls: number }
  | { kind: 'idle'; streams: number }
  | { kind: 'busy'; streams: number; messages: number; bytes: number };

let doors: Doors;
const opened = new Map<Door, Promise<(text: string) => Promise<void>>>();

takeOrders(async (order: Order) => {
  switch (order.kind) {
    case 'open':
      doors = order.doors;
      return;
    case 'latency':
      return latency(order.door, order.bytes, order.calls);
    case 'idle':
      return idle(order.streams);
    case 'busy':
      return busy(order);
  }
});

/** One call after another; how long each took (ms). */
async function latency(door: Door, bytes: number, calls: number): Promise<number[]> {
  const call = await (opened.get(door) ?? doorCalls[door](doors));
  opened.set(door, Promise.resolve(call));
  const text = 'x'.repeat(bytes);
  const times: number[] = [];
  for (let count = 0; count < calls; count += 1) {
    const began = performance.now();
    await call(text);
    times.push(performance.now() - began);
  }
  return times;
}

const perChannel = 100;
const idling: unknown[] = [];

/** Streams that have had one answer, and stay open. */
async function idle(streams: number): Promise<void> {
  for (let count = 0; count < streams; count += 1) {
    const stream = await openStream(doors, 1 + Math.floor(count / perChannel));
    stream.on('error', (error) => {
      throw error;
    });
    stream.write(datum('x'));
    await once(stream, 'data');
    idling.push(stream);
  }
}

/** All at once, each as fast as it is taken; how long until the last answer (ms). Out of order is an error. */
async function busy(load: { streams: number; messages: number; bytes: number }): Promise<number> {
  const began = performance.now();
  const work = Array.from({ length: load.streams }, (_, index) => fill(index, load));
  await Promise.all(work);
  return performance.now() - began;
}

async function fill(
  index: number,
  { messages, bytes }: { messages: number; bytes: number },
): Promise<void> {
  const stream = await openStream(doors, 1 + (index % 10));
  const rest = Buffer.alloc(bytes - 16, 'x');
  const headOf = (count: number) => `${index}:${count}:`.padEnd(16, '.');
  let answers = 0;
  const ended = new Promise<void>((resolve, reject) => {
    stream.on('data', (answer: Buffer) => {
      // The tag and the length of `data` stand before it.
      if (answer.includes(headOf(answers)) && answer.length > bytes) answers += 1;
      else reject(new Error(`Stream ${index}: another answer than that of message ${answers}.`));
    });
    stream.on('error', reject);
    stream.on('end', resolve);
  });
  ended.catch(() => undefined);
  for (let count = 0; count < messages; count += 1) {
    const head = Buffer.from(headOf(count));
    if (!stream.write(datum(Buffer.concat([head, rest])))) {
      await Promise.race([once(stream, 'drain'), ended]);
    }
  }
  stream.end();
  await ended;
  if (answers !== messages) throw new Error(`Stream ${index} had ${answers} answers.`);
}
