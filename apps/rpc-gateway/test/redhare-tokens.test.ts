import { status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { tokenOf } from './private-api.js';
import { openStream, startStreams, token } from './redhare-scene.js';
import { deferred, soon } from './scene.js';

type Call = ServerUnaryCall<Buffer, Buffer>;
type Done = sendUnaryData<Buffer>;

test('another token for the same model renews a stream', async () => {
  const { api, address } = await startStreams();
  const next = tokenOf(7);
  api.callers.set(next, { human_readable_id: 'echo' });
  const { send, show, answers, stream, ended } = openStream(address);
  send('a');
  show(next);
  send('b');
  await expect.poll(() => answers, soon).toEqual(['a', 'b']);
  api.callers.delete(token);
  // It is looked after more than twice a second.
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  send('c');
  stream.end();
  expect(await ended).toBe(undefined);
  expect(answers).toEqual(['a', 'b', 'c']);
});

test('a token that comes while the stream ends is not looked after', async () => {
  const calls: [Call, Done][] = [];
  const { api, address } = await startStreams({ replicas: [(...call) => calls.push(call)] });
  const next = tokenOf(7);
  const asked = deferred();
  const gate = deferred();
  api.callers.set(next, { human_readable_id: 'echo' });
  api.onIdentify = async (bearer) => {
    if (bearer !== next) return;
    asked.resolve();
    await gate.promise;
  };
  const { send, show, ended } = openStream(address);
  send('a');
  await expect.poll(() => calls.length, soon).toBe(1);
  show(next);
  await asked.promise;
  calls[0]![1]({ code: status.INVALID_ARGUMENT, details: 'no' });
  expect(await ended).toMatchObject({ code: status.INVALID_ARGUMENT });
  gate.resolve();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const before = api.identified.length;
  // Of what lasts it asks more than twice a second.
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  expect(api.identified.length).toBe(before);
});

test('of many tokens it is asked by few questions, and each ends by itself', async () => {
  const { api, address } = await startStreams();
  const tokens = Array.from({ length: 220 }, (_, n) => tokenOf(100 + n));
  for (const one of tokens) api.callers.set(one, { human_readable_id: 'echo' });
  // On one connection, of which 256 may be open; of those that have opened nothing yet a hundred are asked for at a time.
  const streams = [];
  for (let n = 0; n < tokens.length; n += 50) {
    const some = tokens.slice(n, n + 50).map((one) => openStream(address, one));
    for (const { send } of some) send('a');
    await expect.poll(() => some.every(({ answers }) => answers.length === 1), soon).toBe(true);
    streams.push(...some);
  }
  const before = api.identified.length;
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const questions = api.identified.slice(before);
  expect(questions.length).toBeLessThan(20);
  expect(new Set(questions.flat())).toEqual(new Set(tokens));
  api.callers.delete(tokens[7]!);
  expect(await streams[7]!.ended).toMatchObject({ code: status.UNAUTHENTICATED });
  for (const { send } of streams) send('b');
  const others = streams.filter((_, n) => n !== 7);
  await expect.poll(() => others.every(({ answers }) => answers.length === 2), soon).toBe(true);
});
