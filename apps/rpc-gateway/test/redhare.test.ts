import { connect, type ClientHttp2Stream } from 'node:http2';
import { status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { describe, expect, onTestFinished, test } from 'vitest';
import { encodeStreamRequest } from '@inference-server/protos';
import { modelOf, tokenOf } from './private-api.js';
import { openStream, startStreams, textIn, textModel, textOf, token } from './redhare-scene.js';
import { deferred, echo, soon } from './scene.js';

type Call = ServerUnaryCall<Buffer, Buffer>;
type Done = sendUnaryData<Buffer>;

const numbers = (count: number) => Array.from({ length: count }, (_, n) => String(n));

describe('what is sent', () => {
  test('is answered in its order, whatever the order of the model is', async () => {
    const waiting: [Call, Done][] = [];
    const { address } = await startStreams({
      replicas: [
        (call, done) => {
          waiting.push([call, done]);
          if (waiting.length < 8) return;
          for (const [one, answer] of waiting.splice(0).reverse()) echo(one, answer);
        },
      ],
    });
    const { send, stream, answers, ended } = openStream(address);
    send(...numbers(160));
    stream.end();
    expect(await ended).toBe(undefined);
    expect(answers).toEqual(numbers(160));
  });

  test('may come together with the token, before anything is read', async () => {
    const { address } = await startStreams();
    const stream = rawStream(address);
    const sent = [{ token }, ...numbers(3).map((n) => ({ data: Buffer.from(n.repeat(9_000)) }))];
    const messages = sent.map((one) => Buffer.concat(encodeStreamRequest(one)));
    stream.end(Buffer.concat(messages.map(framed)));
    const trailers = new Promise<Record<string, unknown>>((resolve) =>
      stream.once('trailers', resolve),
    );
    const answers = messagesIn(Buffer.concat(await stream.toArray()));
    expect(answers).toEqual(numbers(3).map((n) => n.repeat(9_000)));
    expect((await trailers)['grpc-status']).toBe('0');
  });

  test('is asked of the model so much at a time, and no more', async () => {
    const calls: [Call, Done][] = [];
    const { api, address } = await startStreams({
      model: textModel({ target_in_flight: 64 }),
      replicas: [(...call) => calls.push(call)],
      options: { streamWindow: 5 },
    });
    const { send, answers } = openStream(address);
    send(...numbers(50));
    await expect.poll(() => calls.length, soon).toBe(5);
    await expect.poll(() => api.reports.at(-1)?.demand[0], soon).toMatchObject({ in_flight: 5 });
    expect(calls.length).toBe(5);
    echo(...calls[0]!);
    await expect.poll(() => answers, soon).toEqual(['0']);
    await expect.poll(() => calls.length, soon).toBe(6);
  });

  test('is JSON with each input by its name where it is more than a text, and so is the answer', async () => {
    const fields = [
      { name: 'a', dtype: 'DT_INT64' as const, shape: [-1] },
      { name: 'b', dtype: 'DT_STRING' as const },
    ];
    const { address } = await startStreams({
      model: modelOf(1, {
        contract: { signature_name: 'predict', inputs: fields, outputs: fields },
      }),
    });
    const { send, stream, answers, ended } = openStream(address);
    send('{"a":[1,9007199254740993],"b":"ü"}');
    stream.end();
    expect(await ended).toBe(undefined);
    expect(answers).toEqual(['{"a":[1,"9007199254740993"],"b":"ü"}']);
  });

  test('waits for a reader that is slow, and then comes whole', async () => {
    let asked = 0;
    const { address } = await startStreams({
      replicas: [
        (call, done) => {
          asked += 1;
          echo(call, done);
        },
      ],
    });
    const stream = rawStream(address);
    stream.write(framed(Buffer.concat(encodeStreamRequest({ token }))));
    const sent = numbers(1_000).map((n) => n.padStart(10_000, '.'));
    let next = 0;
    const sendOn = () => {
      for (let isTaken = true; isTaken && next < sent.length; next += 1) {
        const data = Buffer.from(sent[next] ?? '');
        isTaken = stream.write(framed(Buffer.concat(encodeStreamRequest({ data }))));
      }
      if (next === sent.length) stream.end();
    };
    stream.on('drain', sendOn);
    sendOn();
    const isStill = async () => {
      const before = [asked, next];
      await new Promise((resolve) => setTimeout(resolve, 300));
      return before[0] === asked && before[1] === next && asked > 0;
    };
    await expect.poll(isStill, soon).toBe(true);
    // The window, and what both ends of HTTP/2 take ahead.
    expect(asked).toBeLessThan(100);
    expect(next).toBeLessThan(200);
    const answers = messagesIn(Buffer.concat(await stream.toArray()));
    expect(asked).toBe(sent.length);
    expect(answers.length).toBe(sent.length);
    expect(answers.every((answer, n) => answer === sent[n])).toBe(true);
  });
});

describe('many streams', () => {
  test('take turns, and one that sends much keeps nobody waiting', async () => {
    const { address } = await startStreams({
      model: textModel({ target_in_flight: 2 }),
      // Streams may have four in the queue at a time.
      options: { maxQueuePerModel: 8 },
      replicas: [(call, done) => void setTimeout(() => echo(call, done), 2)],
    });
    const greedy = openStream(address);
    greedy.send(...numbers(1_000));
    await expect.poll(() => greedy.answers.length, soon).toBeGreaterThan(16);
    const others = Array.from({ length: 10 }, () => openStream(address));
    const begunAt = greedy.answers.length;
    for (const { send, stream } of others) {
      send(...numbers(10));
      stream.end();
    }
    expect(await Promise.all(others.map(({ ended }) => ended))).toEqual(
      others.map(() => undefined),
    );
    expect(greedy.answers.length - begunAt).toBeLessThan(150);
    for (const { answers } of others) expect(answers).toEqual(numbers(10));
    expect(greedy.answers).toEqual(numbers(greedy.answers.length));
  });

  test('are not refused where single calls would be', async () => {
    const { address } = await startStreams({
      model: textModel({ target_in_flight: 1 }),
      options: { maxQueuePerModel: 2 },
    });
    const all = Array.from({ length: 20 }, () => openStream(address));
    for (const { send, stream } of all) {
      send(...numbers(20));
      stream.end();
    }
    expect(await Promise.all(all.map(({ ended }) => ended))).toEqual(all.map(() => undefined));
    for (const { answers } of all) expect(answers).toEqual(numbers(20));
  });
});

test('data that wait for their turn are counted as those that have had it', async () => {
  const MiB = 1024 ** 2;
  const calls: unknown[] = [];
  const { api, address } = await startStreams({
    replicas: [(call) => calls.push(call)],
    // Streams may have one in the queue at a time.
    options: { maxQueuePerModel: 2, maxQueuedBytes: 8 * MiB, maxMessageBytes: 2 * MiB },
  });
  openStream(address).send('a');
  await expect.poll(() => calls.length, soon).toBe(1);
  const ends = [];
  for (let n = 0; n < 10; n += 1) {
    const { send, show, ended } = openStream(address);
    const next = tokenOf(100 + n);
    const isRead = deferred();
    api.callers.set(next, { human_readable_id: 'echo' });
    api.onIdentify = async (bearer) => {
      if (bearer === next) isRead.resolve();
    };
    send(Buffer.alloc(1.5 * MiB));
    // It is read after the data.
    show(next);
    ends.push(await Promise.race([ended, isRead.promise]));
  }
  const refused = expect.objectContaining({ code: status.RESOURCE_EXHAUSTED }) as object;
  // What is being taken over is held twice for a moment.
  expect(ends).toEqual([
    ...Array.from({ length: 4 }, () => undefined),
    ...Array.from({ length: 6 }, () => refused),
  ]);
});

describe('a stream ends', () => {
  test('with the first data that the model rejects, after the answers to those before', async () => {
    const gate = deferred();
    const { address } = await startStreams({
      replicas: [
        (call, done) => {
          const text = textIn(call.request);
          if (text === '2') done({ code: status.INVALID_ARGUMENT, details: 'no twos' });
          else if (text === '1') void gate.promise.then(() => echo(call, done));
          else echo(call, done);
        },
      ],
    });
    const { send, answers, ended } = openStream(address);
    send(...numbers(10));
    await expect.poll(() => answers, soon).toEqual(['0']);
    gate.resolve();
    const error = await ended;
    expect(error).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(error?.details).toContain('no twos');
    expect(answers).toEqual(['0', '1']);
  });

  test('with what is no JSON of the inputs', async () => {
    const { address } = await startStreams({ model: modelOf(1) });
    for (const data of ['{', '[]', '{"y":1}', '{"x":"a"}']) {
      const { send, ended } = openStream(address);
      send(data);
      expect(await ended).toMatchObject({ code: status.INVALID_ARGUMENT });
    }
  });

  test("with the model's other errors, which are none of the server's own", async () => {
    const { address } = await startStreams({
      replicas: [(_call, done) => done({ code: status.UNAUTHENTICATED, details: 'who?' })],
    });
    const { send, ended } = openStream(address);
    send('a');
    expect(await ended).toMatchObject({ code: status.INTERNAL });
  });

  test('where no replica comes in time', async () => {
    const { address } = await startStreams({ replicas: [], options: { startTimeoutMs: 300 } });
    const { send, ended } = openStream(address);
    send('a');
    expect(await ended).toMatchObject({ code: status.UNAVAILABLE });
  });

  test('where data takes longer than a call may', async () => {
    const { address } = await startStreams({
      replicas: [() => undefined],
      options: { maxCallMs: 300 },
    });
    const { send, ended } = openStream(address);
    send('a');
    expect(await ended).toMatchObject({ code: status.DEADLINE_EXCEEDED });
  });

  test('with JSON that is larger than any', async () => {
    const { address } = await startStreams({
      model: modelOf(1),
      options: { maxJsonBytes: 1_000 },
    });
    const { send, ended } = openStream(address);
    send(`{"x":[${'1,'.repeat(1_000)}1]}`);
    expect(await ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  });

  test('within a second when its key is revoked, and has its calls cancelled', async () => {
    const cancelled: unknown[] = [];
    const { api, address } = await startStreams({
      replicas: [(call) => void call.on('cancelled', () => cancelled.push(call))],
    });
    const { send, ended } = openStream(address);
    send('a');
    await expect.poll(() => api.reports.at(-1)?.holds[0]?.in_flight, soon).toBe(1);
    api.callers.clear();
    const began = performance.now();
    expect(await ended).toMatchObject({ code: status.UNAUTHENTICATED });
    expect(performance.now() - began).toBeLessThan(1_500);
    await expect.poll(() => cancelled.length, soon).toBe(1);
  });

  test('with its caller, and has its calls cancelled', async () => {
    const cancelled: unknown[] = [];
    const { api, address } = await startStreams({
      replicas: [(call) => void call.on('cancelled', () => cancelled.push(call))],
    });
    const { send, stream } = openStream(address);
    send(...numbers(40));
    await expect.poll(() => api.reports.at(-1)?.holds[0]?.in_flight, soon).toBe(8);
    stream.cancel();
    await expect.poll(() => cancelled.length, soon).toBe(8);
    await expect
      .poll(() => api.reports.at(-1)?.demand[0], soon)
      .toMatchObject({
        ...{ waiting: 0, in_flight: 0 },
      });
  });

  test('when the gateway stops, after what it was asked', async () => {
    const gate = deferred();
    const { api, address, gateway } = await startStreams({
      replicas: [(call, done) => void gate.promise.then(() => echo(call, done))],
      options: { stopGraceMs: 20_000 },
    });
    const idle = openStream(address);
    const { send, answers, ended } = openStream(address);
    send(...numbers(3));
    await expect.poll(() => api.reports.at(-1)?.holds[0]?.in_flight, soon).toBe(3);
    const began = performance.now();
    const closed = gateway.close();
    gate.resolve();
    expect(await ended).toMatchObject({ code: status.UNAVAILABLE });
    expect(await idle.ended).toMatchObject({ code: status.UNAVAILABLE });
    await closed;
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(answers).toEqual(numbers(3));
  });
});

/** By no client at all: what is not read is not asked for. */
function rawStream(address: string): ClientHttp2Stream {
  const session = connect(`http://${address}`);
  onTestFinished(() => session.destroy());
  return session.request({
    ...{ ':method': 'POST', ':path': '/redhare.Inference/stream_infer' },
    ...{ 'content-type': 'application/grpc', te: 'trailers' },
  });
}

function messagesIn(bytes: Buffer): string[] {
  const messages: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    messages.push(textOf(bytes.subarray(at + 5, end)));
    at = end;
  }
  return messages;
}

function framed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}
