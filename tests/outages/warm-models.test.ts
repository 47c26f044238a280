import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitUntil, type TestApp } from '@inference-server/testing';
import { runServer, type RunningServer } from '../running-server.js';
import { scriptTasks, type ScriptTasks } from '../script-tasks.js';
import { expectNoWrongAnswer, warmModels } from '../warm/warm-models.js';

let server: RunningServer;
let models: ReturnType<typeof warmModels>;
let tasks: ScriptTasks;
let parts: Record<'privateApi' | 'publicApi' | 'gateway' | 'first' | 'second', TestApp>;

// Both consumers use one engine: half of the memory that the models may have is each one's.
const half = { HOST_SHARE: '0.5', CPU_SLOTS: '1', SWEEP_INTERVAL_S: '1' };

beforeAll(async () => {
  server = await runServer();
  parts = {
    privateApi: await server.startPrivateApi(),
    gateway: await server.startGateway(),
    publicApi: await server.startPublicApi(),
    first: await server.startConsumer('first', half),
    second: await server.startConsumer('second', half),
  };
  models = warmModels(server);
  tasks = await scriptTasks(server);
}, 120_000);

afterAll(() => models.removeAll());

/** Which of our parts a call may meet in the middle of its end. */
const passing = ['SERVICE_UNAVAILABLE', 'MODEL_ERROR'];

const tell = (what: string, ms: number) => console.log(`${what}: ${Math.round(ms)} ms`);

describe('a replica', () => {
  it('that is killed in the middle of calls fails those and no other, and is replaced', async () => {
    await models.put('killed', { max_replicas: 2, min_replicas: 2, target_in_flight: 2 });
    await models.until('killed', ['READY', 'READY']);
    const load = models.load('killed', 4, { sleep_ms: 20 });
    const answer = await models.ask('killed', { exit: 7 });
    expect(answer).toMatchObject({ status: 503, code: 'SERVICE_UNAVAILABLE' });
    tell('the next right answer after the end of a replica', await load.recovered());
    await models.untilEnded('killed', 1);
    await models.until('killed', ['READY', 'READY']);
    const answers = await load.stop();
    expectNoWrongAnswer(answers, passing);
    expect(answers.filter(({ isRight }) => isRight).length).toBeGreaterThan(10);

    const [ended] = await models.untilEnded('killed', 1);
    expect(ended).toMatchObject({ end_reason: 'exited', exit_code: 7 });
    expect(ended?.log).toContain('told to exit by call-');
  }, 120_000);

  it('whose consumer is killed answers on, or elsewhere', async () => {
    await models.put('moved', { max_replicas: 2, min_replicas: 2 });
    await models.until('moved', ['READY', 'READY']);
    const load = models.load('moved', 4, { sleep_ms: 20 });
    await parts.first.kill();
    tell('the next right answer after a consumer’s end', await load.recovered());
    const back = await server.startConsumer('first', half);
    parts = { ...parts, first: back };
    await models.until('moved', ['READY', 'READY']);
    expectNoWrongAnswer(await load.stop(), passing);
  }, 120_000);
});

describe('calls go on', () => {
  it('while private-api is away, and after it is back', async () => {
    await models.put('steady', { min_replicas: 1 });
    await models.until('steady', ['READY']);
    const load = models.load('steady', 4, { sleep_ms: 20 });
    await parts.privateApi.kill();
    const away = performance.now();
    const during = await waitUntil(
      () => load.answers.filter(({ isRight }) => isRight).length > 20 || isOver(away),
      { timeoutMs: 20_000 },
    );
    expect(during).toBe(true);
    parts = { ...parts, privateApi: await server.startPrivateApi() };
    tell('the next right answer after private-api’s start', await load.recovered());
    expectNoWrongAnswer(await load.stop(), passing);
    await models.until('steady', ['READY']);
  }, 120_000);

  it('after the gateway was killed and started again: an error meanwhile, never silence', async () => {
    await models.put('door', { min_replicas: 1 });
    await models.until('door', ['READY']);
    const load = models.load('door', 4, { sleep_ms: 20 });
    await parts.gateway.kill();
    parts = { ...parts, gateway: await server.startGateway() };
    tell('the next right answer after the gateway’s start', await load.recovered());
    const answers = await load.stop();
    expectNoWrongAnswer(answers, passing);
    expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(30_000);
  }, 120_000);
});

it('a new version takes over under load without a failed call', async () => {
  await models.put('rolled', { min_replicas: 1, max_replicas: 2 }, { VERSION: 'one' });
  await models.until('rolled', ['READY']);
  const load = models.load('rolled', 4, { sleep_ms: 20 });
  await models.put('rolled', { min_replicas: 1, max_replicas: 2 }, { VERSION: 'two' });
  const [old] = await models.untilEnded('rolled', 1);
  expect(old).toMatchObject({ version: 1, end_reason: 'stopped' });
  const before = load.answers.length;
  const isMore = async () => load.answers.length > before + 20;
  expect(await waitUntil(isMore, { timeoutMs: 40_000 })).toBe(true);
  const answers = await load.stop();
  expectNoWrongAnswer(answers, []);
  const versions = answers.map(({ version }) => version);
  expect(new Set(versions.slice(0, before))).toEqual(new Set(['one', 'two']));
  expect(new Set(versions.slice(before))).toEqual(new Set(['two']));
}, 180_000);

it('idle replicas make room for tasks and for other models, busy ones never', async () => {
  const large = { memory_mib: 3_000, max_replicas: 1, idle_timeout_s: 600 };
  const names = ['wide-1', 'wide-2', 'wide-3', 'wide-4', 'wide-5', 'wide-6'];
  for (const name of names) await models.put(name, large);
  const busy = models.load('wide-1', 1, { sleep_ms: 100 });
  for (const name of names.slice(1)) {
    expect(await models.ask(name, {}, 90_000)).toMatchObject({ status: 200 });
  }
  // Each takes all of a core for some seconds.
  const script = `end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do :; done
    echo fine > /output/result`;
  const uids = await Promise.all(Array.from({ length: 6 }, () => tasks.post(script)));
  for (const uid of uids) expect(await tasks.resultOf(uid)).toBe('fine\n');
  const answers = await busy.stop();
  expectNoWrongAnswer(answers, []);
  // Tasks that compute do not starve it.
  expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(10_000);
  // It was one container from the first call to the last.
  expect(new Set(answers.map(({ replica }) => replica)).size).toBe(1);
}, 300_000);

function isOver(since: number): boolean {
  return performance.now() - since > 15_000;
}
