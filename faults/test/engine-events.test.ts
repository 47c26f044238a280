import { beforeAll, beforeEach, expect, it } from 'vitest';
import { ownEngine, waitUntil, type OwnEngine } from '@inference-server/testing';
import { silentEngines } from '../src/checks/silent-engines.js';
import { watchEngine, type ContainerEvent, type EngineWatch } from '../src/world/engine-events.js';

let own: OwnEngine;
let events: ContainerEvent[];
let watch: EngineWatch | undefined;

beforeAll(async () => {
  own = await ownEngine({ liveRestore: true });
});
beforeEach(() => {
  events = [];
  watch = undefined;
  return async () => {
    await watch?.close();
    for (const { kind, name } of await own.api.listObjects()) {
      if (kind === 'container') await own.api.call('DELETE', `/containers/${name}?force=1`);
    }
  };
});

it('tells each event once, over a restart of the engine, and how often it was asked', async () => {
  watch = await watching();
  const id = await started('one');
  await heard('start', id);
  await own.end('SIGKILL');
  await until(() => watch?.isListening === false);
  expect(silentEngines([watch])).toMatchObject([
    expect.stringMatching(/^engine is not listened to: 1 connections/),
  ]);
  await own.start({ liveRestore: true });
  await until(() => watch?.isListening === true);
  await own.api.call('DELETE', `/containers/${id}?force=1`);
  await heard('destroy', id);
  expect(actionsOf(id).filter((action) => action !== 'kill')).toEqual(['start', 'die', 'destroy']);
  expect(watch.connections).toBe(2);
  expect([watch.fromState, silentEngines([watch])]).toEqual([0, []]);
});

it('takes a start that an engine has forgotten from the state of its container', async () => {
  const id = await started('forgotten');
  await own.end('SIGKILL');
  await own.start({ liveRestore: true });
  expect(await own.api.countStarts('inference-server.task=forgotten')).toBe(0);
  watch = await watching();
  const [start] = events;
  expect(start).toMatchObject({ action: 'start', container: id, isFromState: true });
  expect(start).toMatchObject({ task: 'forgotten', attempt: 1, kind: 'run', consumer: 'a' });
  const secondsAgo = Date.now() / 1000 - Number(start?.timeNano) / 1e9;
  expect(secondsAgo).toBeGreaterThan(0);
  expect(secondsAgo).toBeLessThan(120);
  expect(watch.fromState).toBe(1);
});

it('takes the end of a container that ended while its engine was away from its state', async () => {
  watch = await watching();
  const id = await started('ended unseen');
  await heard('start', id);
  const { State } = (await own.api.call('GET', `/containers/${id}/json`)) as {
    State: { Pid: number };
  };
  await own.end('SIGKILL');
  process.kill(State.Pid, 'SIGKILL');
  await own.start({ liveRestore: true });
  await heard('die', id);
  await own.api.call('DELETE', `/containers/${id}`);
  await heard('destroy', id);
  expect(actionsOf(id)).toEqual(['start', 'die', 'destroy']);
});

it('tells no start of a container that could not be started, and none of the others', async () => {
  watch = await watching();
  const broken = await created('broken', ['/no/such/program']);
  await own.api.call('POST', `/containers/${broken}/start`).catch(() => undefined);
  await own.api.call('DELETE', `/containers/${broken}?force=1`);
  await heard('destroy', broken);
  expect(actionsOf(broken)).not.toContain('start');
  await watch.close();
  watch = await watching();
  expect(events.filter(({ action }) => action === 'start')).toEqual([]);
});

it('finds an engine that is none', async () => {
  watch = watchEngine('engine', '/nonexistent/docker.sock', (event) => events.push(event));
  await until(() => watch?.failure !== undefined);
  expect(silentEngines([watch])).toEqual([
    expect.stringMatching(/^engine told of no container: 0 connections, heard of last: never, .+/),
    expect.stringMatching(/^engine is not listened to: .*ENOENT/),
  ]);
});

async function watching(): Promise<EngineWatch> {
  const opened = watchEngine('engine', own.dockerHost.replace(/^unix:\/\//, ''), (event) =>
    events.push(event),
  );
  watch = opened;
  await until(() => opened.isListening);
  return opened;
}

async function created(task: string, command: string[]): Promise<string> {
  const labels = { task, attempt: '1', kind: 'run', consumer: 'a' };
  const { Id } = (await own.api.call('POST', '/containers/create', {
    Image: own.image,
    Cmd: command,
    Labels: Object.fromEntries(
      Object.entries(labels).map(([name, value]) => [`inference-server.${name}`, value]),
    ),
  })) as { Id: string };
  return Id;
}

async function started(task: string): Promise<string> {
  const id = await created(task, ['sleep', '600']);
  await own.api.call('POST', `/containers/${id}/start`);
  return id;
}

function actionsOf(id: string): string[] {
  return events.filter(({ container }) => container === id).map(({ action }) => action);
}

const heard = (action: string, id: string) => until(() => actionsOf(id).includes(action));

async function until(check: () => boolean): Promise<void> {
  expect(await waitUntil(check, { timeoutMs: 20_000 })).toBe(true);
}
