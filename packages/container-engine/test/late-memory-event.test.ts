import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectEngine } from '../src/docker/connection.js';
import { waitForExit } from '../src/docker/exit.js';
import { importBusybox, startOwnEngine, type OwnEngine } from './own-engine.js';

const deadlines = { callMs: 20_000, slowCallMs: 60_000, idleMs: 20_000, pollMs: 300, awayMs: 1500 };
const signal = new AbortController().signal;
const memory = 32 * 1024 ** 2;
let own: OwnEngine;

beforeAll(async () => {
  own = await startOwnEngine();
  await importBusybox(own.docker, 'busybox:1', []);
});
afterAll(async () => {
  const all = await own.docker.listContainers({ all: true });
  for (const { Id } of all) await own.docker.getContainer(Id).remove({ v: true, force: true });
});

it.each([
  ['head -c 100m /dev/zero | tail -n 1; sleep 1; exit 137', { exitCode: 137, outOfMemory: true }],
  ['exit 137', { exitCode: 137, outOfMemory: false }],
])('of a state without it the events tell whether it was memory: %s', async (command, told) => {
  const { id } = await own.docker.createContainer({
    Image: 'busybox:1',
    Cmd: ['sh', '-c', command],
    HostConfig: { Memory: memory, MemorySwap: memory },
  });
  const exit = waitForExit(withoutMemoryInStates(), id, signal);
  await own.docker.getContainer(id).start();
  expect(await exit).toMatchObject({ ...told, interrupted: false });
});

/** As an engine is for a container whose event comes after its end: its state never has it. */
function withoutMemoryInStates() {
  const connection = connectEngine(own.dockerHost, deadlines);
  const { docker } = connection;
  const getContainer = docker.getContainer.bind(docker);
  docker.getContainer = (id) => {
    const container = getContainer(id);
    const inspect = container.inspect.bind(container);
    container.inspect = (async (options: object) => {
      const found = await inspect(options);
      return { ...found, State: { ...found.State, OOMKilled: false } };
    }) as typeof container.inspect;
    return container;
  };
  return connection;
}
