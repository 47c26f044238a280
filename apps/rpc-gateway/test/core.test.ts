import { randomUUID } from 'node:crypto';
import { createServer as createHttp2Server } from 'node:http2';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { GatewayNews, ModelContract } from '@inference-server/contracts';
import { createByteBudget } from '@inference-server/grpc';
import { createHostedModels } from '../src/core/hosted-models.js';
import { createPredictor, type PredictorOptions } from '../src/core/predictor.js';
import { createReplicaSet, type CallEnd } from '../src/core/replica-set.js';
import { idOf, modelOf, usualContract } from './private-api.js';
import { readyAt } from './scene.js';

const model = modelOf(1, { contract: { ...usualContract, inputs: [] } });
const version = model.model_version_id;
const newsOf = (news: Partial<GatewayNews>): GatewayNews => ({
  ...{ revision: 'r', models_revision: 'm', replicas: [], trouble: [] },
  ...news,
});
const unreached: CallEnd = { is: 'unreached', failure: new Error('nobody listens') };

function startSet(...addresses: string[]) {
  let changes = 0;
  const set = createReplicaSet(() => (changes += 1));
  onTestFinished(() => set.close());
  set.apply(newsOf({ replicas: readyAt(model, ...addresses) }));
  return { set, changes: () => changes };
}

/** Takes connections, and says nothing. */
async function silentPeer(): Promise<string> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => sockets.push(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Answers every call with its own name as the text of its status. */
async function namedPeer(name: string): Promise<string> {
  const server = createHttp2Server();
  const sessions = new Set<{ destroy(): void }>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream) => {
    const head = { ':status': 200, 'grpc-status': '9', 'grpc-message': name };
    stream.respond(head, { endStream: true });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const noTask = () => Promise.reject(new Error('there are no batch models'));

function predictorWith(options: Partial<PredictorOptions> = {}) {
  const predictor = createPredictor({
    ...{ maxQueuePerModel: 10, maxAnswerBytes: 1_000, budget: createByteBudget(10_000) },
    ...{ startTimeoutMs: 5_000, onNews: () => undefined, refresh: () => Promise.resolve(true) },
    ...{ maxJsonBytes: 1_000, newKey: randomUUID },
    tasks: { post: noTask, output: noTask, cancel: noTask },
    ...options,
  });
  onTestFinished(() => predictor.close());
  const ask = (more: { deadlineAt?: number; signal?: AbortSignal }) =>
    predictor.predict({
      ...{ target: { name: 'echo', version: undefined }, signatureName: '', inputs: new Map() },
      ...{ hasMore: false, rest: [], hold: () => undefined },
      caller: { owner: 'o', role: 'submit', credential: 'key', address: '127.0.0.1' },
      ...{ deadlineAt: performance.now() + 5_000, signal: new AbortController().signal },
      ...more,
    });
  return { predictor, ask };
}

test('a replica that says nothing takes no call as long as another has room', async () => {
  const { predictor, ask } = predictorWith();
  const replicas = readyAt(model, await silentPeer(), await namedPeer('b'));
  predictor.apply(newsOf({ models: [model], replicas }));
  const ends: string[] = [];
  for (let n = 0; n < 4; n += 1) {
    const asked = ask({ deadlineAt: performance.now() + 300 });
    ends.push(
      await asked.then(
        ({ answer }) => answer.statusMessage,
        (error: unknown) => (error as { code: string }).code,
      ),
    );
  }
  expect(ends).toEqual(['DEADLINE_EXCEEDED', 'b', 'b', 'b']);
});

test('who waited in vain tells nothing of a replica that has answered others meanwhile', () => {
  const { set } = startSet('127.0.0.1:1', '127.0.0.1:2');
  const first = set.take(version, 8)!;
  const since = performance.now();
  const takeBoth = () => [set.take(version, 1)!, set.take(version, 1)!];
  const [second] = [set.take(version, 8)!];
  expect(second.id).not.toBe(first.id);
  set.give(second, { is: 'answered' });
  set.give(first, { is: 'unanswered', since });
  // The one that is behind is taken where the other has no room, and is as good as that one once it answers.
  const [one, other] = takeBoth();
  expect([one!.id, other!.id]).toEqual([second.id, first.id]);
  set.give(other!, { is: 'answered' });
  set.give(one!, { is: 'unanswered', since: 0 });
  expect(takeBoth().map(({ id }) => id)).toEqual([first.id, second.id]);
});

test('a replica that let a call wait in vain is asked again in some seconds, later each time', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const { set } = startSet('127.0.0.1:1', '127.0.0.1:2');
  const takenFirst = () => {
    const taken = set.take(version, 8)!;
    set.give(taken, { is: 'unasked' });
    return taken.id;
  };
  const inVain = () => {
    const taken = set.take(version, 8)!;
    set.give(taken, { is: 'unanswered', since: performance.now() });
    return taken.id;
  };
  vi.advanceTimersByTime(1_000);
  const first = inVain();
  const second = takenFirst();
  expect(second).not.toBe(first);
  vi.advanceTimersByTime(5_001);
  expect([inVain(), takenFirst()]).toEqual([first, second]);
  vi.advanceTimersByTime(5_001);
  expect(takenFirst()).toBe(second);
  vi.advanceTimersByTime(5_000);
  const again = set.take(version, 8)!;
  set.give(again, { is: 'answered' });
  vi.advanceTimersByTime(1);
  expect([again.id, inVain(), takenFirst()]).toEqual([first, first, second]);
  vi.advanceTimersByTime(5_001);
  expect(takenFirst()).toBe(first);
});

test('a replica that answers none of its calls gets no more of those that others have room for', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const { set } = startSet('127.0.0.1:1', '127.0.0.1:2');
  const frozen = set.take(version, 8)!;
  const other = set.take(version, 8)!;
  expect(set.take(version, 8)!.id).toBe(frozen.id);
  vi.advanceTimersByTime(5_001);
  set.give(other, { is: 'answered' });
  const more = Array.from({ length: 8 }, () => set.take(version, 8)!.id);
  expect(more).toEqual(Array.from({ length: 8 }, () => other.id));
  // Nothing else is left.
  expect(set.take(version, 8)!.id).toBe(frozen.id);
  set.give(frozen, { is: 'answered' });
  set.give(other, { is: 'answered' });
  expect(set.take(version, 8)!.id).toBe(frozen.id);
});

test('a replica that is somewhere else now is asked there; what is under way ends where it is', async () => {
  const [before, after] = [await namedPeer('before'), await namedPeer('after')];
  const { set } = startSet(before);
  const busy = set.take(version, 8)!;
  set.apply(newsOf({ replicas: readyAt(model, after) }));
  const replica = set.take(version, 8)!;
  const ask = (connection: typeof replica.connection) =>
    connection.call({ path: '/x', message: [], maxAnswerBytes: 1 });
  expect((await ask(replica.connection)).statusMessage).toBe('after');
  expect((await ask(busy.connection)).statusMessage).toBe('before');
  expect(set.holds()).toEqual([{ replica_id: idOf(1_000), in_flight: 2, idle_s: null }]);
  set.give(busy, { is: 'answered' });
  expect(set.holds()).toMatchObject([{ in_flight: 1, idle_s: null }]);
  set.give(replica, { is: 'answered' });
  expect(set.holds()).toMatchObject([{ in_flight: 0 }]);
  expect(set.holds()[0]?.idle_s).not.toBeNull();
  // The connection of what is left is closed.
  await expect(ask(busy.connection)).rejects.toThrow('closed');
});

test('calls that fail together are one try: the replica is asked again in a moment', async () => {
  const { set, changes } = startSet('127.0.0.1:1');
  const taken = Array.from({ length: 8 }, () => set.take(version, 8)!);
  for (const one of taken) set.give(one, unreached);
  expect(set.take(version, 8)).toBeUndefined();
  await sleep(300);
  expect(changes()).toBe(1);
  expect(set.take(version, 8)).toBeDefined();
});

test('who goes while a model is looked for is not kept', async () => {
  const { ask } = predictorWith({ refresh: () => new Promise(() => undefined) });
  const end = new AbortController();
  const asked = ask({ signal: end.signal });
  end.abort(new Error('enough'));
  await expect(asked).rejects.toThrow('enough');
});

test('contracts of versions are compared once, not with each call', () => {
  let reads = 0;
  const contract = (): ModelContract =>
    Object.defineProperty({ ...usualContract }, 'inputs', {
      enumerable: true,
      get: () => ((reads += 1), usualContract.inputs),
    });
  const models = createHostedModels();
  const two = [1, 2].map((n) => modelOf(n, { contract: contract(), is_current: n === 2 }));
  models.apply(newsOf({ models: two }));
  expect(models.olderAlike(two[1]!)).toEqual([two[0]]);
  const before = reads;
  for (let n = 0; n < 10; n += 1) expect(models.olderAlike(two[1]!)).toHaveLength(1);
  expect(reads).toBe(before);
  models.apply(newsOf({ models: two.slice(1) }));
  expect(models.olderAlike(two[1]!)).toEqual([]);
});

test('the current versions are one list as long as they are the same', () => {
  const models = createHostedModels();
  const news = { revision: '1', models_revision: '1', replicas: [], trouble: [] };
  const [old, next] = [modelOf(1, { is_current: false }), modelOf(2)];
  const other = modelOf(3, { human_readable_id: 'a' });
  expect(models.current()).toEqual([]);
  models.apply({ ...news, models: [old, next, other] });
  const before = models.current();
  expect(before).toEqual([other, next]);
  models.apply(news);
  models.apply({ ...news, models: [{ ...other }, { ...next }] });
  expect(models.current()).toBe(before);
  models.apply({ ...news, models: [{ ...other, description: 'new' }] });
  expect(models.current()).toEqual([{ ...other, description: 'new' }]);
});
