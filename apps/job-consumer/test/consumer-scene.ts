import { expect } from 'vitest';
import { createDockerEngine } from '@inference-server/container-engine';
import type { Work } from '@inference-server/contracts';
import { createLogger } from '@inference-server/service-kit';
import { createTicketSender } from '@inference-server/task-queue';
import { testEngine, testRedis, whenFileEnds, type TestEngine } from '@inference-server/testing';
import type { Consumer } from '../src/consumer.js';
import { createNames } from '../src/names.js';
import { makeScriptImage } from './images.js';
import { startTestConsumer, type TestConsumerOptions } from './test-consumer.js';
import { startTestPrivateApi, type TestTask } from './test-private-api.js';
import { scriptZip } from './zips.js';

export type ConsumerScene = Awaited<ReturnType<typeof openConsumerScene>>;

export type StartOptions = Partial<TestConsumerOptions> & { starting?: AbortSignal };

/** Whole consumers, on an engine (the run's unless it is given), a Redis and a private-api of the file's own. */
export async function openConsumerScene(given?: TestEngine) {
  const own = given ?? (await testEngine());
  const engine = createDockerEngine({ dockerHost: own.dockerHost });
  const redis = await testRedis();
  const api = await startTestPrivateApi(own.installationId);
  // Each file its own: one that ends takes the name away.
  const tag = `consumer-test:${own.installationId}`;
  const image = await makeScriptImage(own.api, own.image, tag);
  const logger = createLogger('test', 'silent');
  const tickets = createTicketSender({ redisUrl: redis.url, prefix: redis.prefix, logger });
  whenFileEnds('ticket sender', () => tickets.close());
  const never = new AbortController().signal;
  const open: Consumer[] = [];
  let count = 0;

  return {
    own,
    engine,
    api,
    image,
    nextId: () => `consumer-${count + 1}`,
    start,
    closeAll,
    addTask,
    send,
    registrationsOf,
    untilContainer,
    runOf,
    tracesOf,
    leave,
  };

  async function start(options: StartOptions = {}): Promise<{ id: string }> {
    const id = options.id ?? `consumer-${(count += 1)}`;
    const { dockerHost } = own;
    const asked = { dockerHost, apiUrl: api.url, redis, ...options, id };
    open.push(await startTestConsumer(asked, options.starting ?? never));
    return { id };
  }

  async function closeAll(): Promise<void> {
    await Promise.all(open.splice(0).map((consumer) => consumer.close()));
  }

  function addTask(script: string, work: Partial<Work> = {}): TestTask {
    return api.addTask({ work: { container_tag: image, ...work }, input: scriptZip(script) });
  }

  async function send(id: string, tasks: readonly TestTask[]): Promise<void> {
    const sent = tasks.map(({ uid, attempt }) => ({ taskUid: uid, attempt }));
    await expect
      .poll(() => tickets.send(id, sent).then(() => 'sent', String), { timeout: 10_000 })
      .toBe('sent');
  }

  function registrationsOf(id: string) {
    return api.registrations.filter((registration) => registration.id === id);
  }

  async function untilContainer(id: string, task: TestTask, engine = own.api): Promise<void> {
    const name = runOf(id, task);
    const isRunning = async () => {
      const found = (await engine
        .call('GET', `/containers/${name}/json`)
        .catch(() => undefined)) as { State: { Running: boolean } } | undefined;
      return found?.State.Running;
    };
    await expect.poll(isRunning, { timeout: 10_000 }).toBe(true);
  }

  function runOf(id: string, task: TestTask): string {
    return createNames(own.installationId, id).attempt(task.uid, task.attempt).name('run');
  }

  /** A container of an attempt that another process has left: created, not started. */
  async function leave(consumerId: string, task: TestTask): Promise<{ id: string; name: string }> {
    const names = createNames(own.installationId, consumerId).attempt(task.uid, task.attempt);
    const name = names.name('run');
    const { Id: id } = (await own.api.call('POST', `/containers/create?name=${name}`, {
      Image: own.image,
      Cmd: ['sleep', '100'],
      Labels: names.labels('run'),
    })) as { Id: string };
    return { id, name };
  }

  async function tracesOf(installation = own.installationId): Promise<string[]> {
    const objects = await own.api.listObjects();
    return objects
      .filter(({ labels }) => Object.values(labels).includes(installation))
      .map(({ kind, name }) => `${kind} ${name}`)
      .sort();
  }
}
