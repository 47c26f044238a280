import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { callEngine } from './engine-call.js';

/** A start or an end of one of our containers, as its engine tells. */
export interface ContainerEvent {
  engine: string;
  action: 'start' | 'die' | 'oom' | 'kill' | 'destroy';
  container: string;
  task: string;
  attempt: number;
  /** `run` for a model's container. */
  kind: string;
  consumer: string;
  exitCode: number | undefined;
  /** Nanoseconds of the engine's clock, as a text: more than a double holds. */
  timeNano: string;
  /** The engine told no event of it: it was seen in the container's state, after a restart. */
  isFromState?: true;
}

/** What an engine is known to have done. */
export interface EngineWatch {
  readonly engine: string;
  /** How often its stream of events was opened. */
  readonly connections: number;
  /** Events of our containers, all kinds. */
  readonly told: number;
  /** Those of them that no event has told, but a container's state. */
  readonly fromState: number;
  /** Unix time, ms: of its last sign of life. */
  readonly heardAt: number | undefined;
  /** Whether its stream is open now, and what it has done before is known. */
  readonly isListening: boolean;
  /** Why it is not, or was not at last. */
  readonly failure: string | undefined;
  close(): Promise<void>;
}

const labels = 'inference-server.';

/**
 * Listens to an engine for as long as the run lasts, over its restarts. It is asked for what it still
 * knows since the last event: that is what it has done since it runs, the last 256 events of any kind. An
 * engine that was killed has forgotten what it had not told yet; so at each connection the states of its
 * containers are held against what was told, and starts and ends that are missing are taken from there.
 * What nobody can tell: a container whose start was not told any more and that was removed before its
 * restarted engine was asked.
 */
export function watchEngine(
  engine: string,
  socketPath: string,
  onEvent: (event: ContainerEvent) => void,
): EngineWatch {
  const closing = new AbortController();
  const watch = {
    engine,
    connections: 0,
    told: 0,
    fromState: 0,
    heardAt: undefined as number | undefined,
    isListening: false,
    failure: undefined as string | undefined,
  };
  const account = createAccount((event) => {
    watch.told += 1;
    if (event.isFromState === true) watch.fromState += 1;
    onEvent(event);
  });

  const listen = async () => {
    const filters = JSON.stringify({ type: ['container'], label: [`${labels}task`] });
    const query = new URLSearchParams({ since: account.since(), filters });
    const call = request({ socketPath, path: `/events?${query.toString()}`, agent: false });
    const abort = () => call.destroy();
    closing.signal.addEventListener('abort', abort, { once: true });
    try {
      const response = await new Promise<NodeJS.ReadableStream>((resolve, reject) => {
        call.once('response', resolve).once('error', reject).end();
      });
      watch.connections += 1;
      watch.heardAt = Date.now();
      const looked = look(engine, socketPath, account).then(
        () => {
          watch.isListening = true;
          watch.failure = undefined;
        },
        (error: unknown) => {
          // Then the connection is of no use: both are tried again.
          watch.failure = String(error);
          call.destroy();
        },
      );
      for await (const line of createInterface({ input: response })) {
        watch.heardAt = Date.now();
        const event = eventOf(engine, line);
        if (event !== undefined) account.told(event);
      }
      await looked;
    } finally {
      watch.isListening = false;
      closing.signal.removeEventListener('abort', abort);
      call.destroy();
    }
  };
  const listening = (async () => {
    while (!closing.signal.aborted) {
      await listen().catch((error: unknown) => {
        watch.failure = String(error);
      });
      await sleep(100, undefined, { signal: closing.signal }).catch(() => undefined);
    }
  })();
  return Object.assign(watch, {
    async close() {
      closing.abort();
      await listening;
    },
  });
}

/** Each event once, whether it was told once, twice or by a container's state alone. */
function createAccount(onEvent: (event: ContainerEvent) => void) {
  /** Of the second of the last event, and later: what an engine may tell again. */
  let recent = new Map<string, number>();
  let newest = Math.floor(Date.now() / 1000);
  /** By container that has started, or ended: how many of that its state told, and no event yet. */
  const known = { start: new Map<string, number>(), die: new Map<string, number>() };

  return {
    since: () => String(newest),
    told(event: ContainerEvent) {
      const { action, container, timeNano } = event;
      const second = Number(timeNano.slice(0, -9));
      const key = `${timeNano} ${action} ${container}`;
      if (recent.has(key)) return;
      recent.set(key, second);
      if (second > newest) {
        newest = second;
        recent = new Map([...recent].filter(([, of]) => of >= newest));
      }
      if (action === 'start' || action === 'die') {
        const open = known[action].get(container) ?? 0;
        known[action].set(container, Math.max(0, open - 1));
        // It was seen in the state before.
        if (open > 0) return;
      }
      onEvent(event);
    },
    seen(event: ContainerEvent & { action: 'start' | 'die' }) {
      const { action, container } = event;
      if (known[action].has(container)) return;
      known[action].set(container, 1);
      onEvent({ ...event, isFromState: true });
    },
  };
}
type Account = ReturnType<typeof createAccount>;

interface RawContainer {
  Id: string;
  Config: { Labels: Record<string, string> };
  State: { Running: boolean; ExitCode: number; StartedAt: string; FinishedAt: string };
}

/** Our containers start once: a start or an end that the state has, and no event, was not told. */
async function look(engine: string, socketPath: string, { seen }: Account): Promise<void> {
  const filters = JSON.stringify({ label: [`${labels}task`] });
  const query = new URLSearchParams({ all: '1', filters }).toString();
  const list = await callEngine(socketPath, 'GET', `/containers/json?${query}`);
  for (const { Id } of list as { Id: string }[]) {
    const container = await callEngine(socketPath, 'GET', `/containers/${Id}/json`).catch(
      (error: unknown) => {
        // Removed in between: its end is told.
        if (!String(error).includes(': 404 ')) throw error;
      },
    );
    if (container === undefined) continue;
    const { State, Config } = container as RawContainer;
    const what = { engine, container: Id, ...idOf(Config.Labels) };
    const startedAt = nanosecondsOf(State.StartedAt);
    if (startedAt === undefined) continue;
    seen({ ...what, action: 'start', exitCode: undefined, timeNano: startedAt });
    const finishedAt = nanosecondsOf(State.FinishedAt);
    if (State.Running || finishedAt === undefined) continue;
    seen({ ...what, action: 'die', exitCode: State.ExitCode, timeNano: finishedAt });
  }
}

/** Of a time like 2026-01-31T10:20:30.123456789Z; undefined: it has not come to that. */
function nanosecondsOf(time: string): string | undefined {
  const [, second = '', fraction = ''] = /^([^.Z]+)(?:\.(\d+))?Z$/.exec(time) ?? [];
  const seconds = Date.parse(`${second}Z`) / 1000;
  return seconds > 0 ? `${seconds}${fraction.padEnd(9, '0')}` : undefined;
}

interface RawEvent {
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
}

function eventOf(engine: string, line: string): ContainerEvent | undefined {
  const { Action, Actor } = JSON.parse(line) as RawEvent;
  const [, timeNano = '0'] = /"timeNano":(\d+)/.exec(line) ?? [];
  if (!['start', 'die', 'oom', 'kill', 'destroy'].includes(Action)) return undefined;
  const exitCode = Actor.Attributes['exitCode'];
  return {
    engine,
    action: Action as ContainerEvent['action'],
    container: Actor.ID,
    ...idOf(Actor.Attributes),
    exitCode: exitCode === undefined ? undefined : Number(exitCode),
    timeNano,
  };
}

function idOf(attributes: Record<string, string>) {
  const of = (name: string) => attributes[labels + name] ?? '';
  return {
    task: of('task'),
    attempt: Number(of('attempt')),
    kind: of('kind'),
    consumer: of('consumer'),
  };
}
