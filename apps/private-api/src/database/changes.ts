import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';

/** Wakes whoever waits for a change, by the database's notifications. */
export interface Changes {
  /** By the uid of a task. */
  tasks: Channel;
  /** Replicas, and which version of which model is current: by no key. */
  replicas: Channel;
  /** The calls that gateways have, and the replicas that they hold: by no key. */
  gateways: Channel;
  /** The process stops: whoever waits is to answer now, and nobody is held any more. */
  letGo(): void;
  close(): Promise<void>;
}

export interface Channel {
  /** From now on changes of this key, or of any where none is named, are kept for `next`. Close it. */
  watch(key?: string): Watch;
  /** Called at every change of any key, and after a gap in listening. */
  onAnyChange(listener: () => void): void;
}

export interface Watch {
  /** Resolves at the next change since the last call, or when `signal` aborts. Never rejects. */
  next(signal: AbortSignal): Promise<void>;
  /** There is no use in waiting any more, see `letGo`: `next` resolves at once. */
  readonly isLetGo: boolean;
  close(): void;
}

/** What Postgres notifies of; the first word of a payload is the key. */
const channelNames = {
  tasks: 'task_changed',
  replicas: 'replicas_changed',
  gateways: 'gateways_changed',
} as const;

/**
 * Listens on a connection of its own. After a lost connection every waiter is woken once, since a
 * change may have been missed meanwhile.
 */
export function listenToChanges(databaseUrl: string, logger: Logger): Changes {
  const closing = new AbortController();
  const letGo = new AbortController();
  const channels = {
    tasks: createChannel(letGo.signal),
    replicas: createChannel(letGo.signal),
    gateways: createChannel(letGo.signal),
  };
  const wakeAll = () => {
    for (const channel of Object.values(channels)) channel.wakeAll();
  };
  const wake = (name: string, key: string) => {
    for (const of of ['tasks', 'replicas', 'gateways'] as const) {
      if (channelNames[of] === name) channels[of].wake(key);
    }
  };

  const listening = (async () => {
    while (!closing.signal.aborted) {
      await listenOnce(databaseUrl, { wake, wakeAll }, closing.signal).catch((error: unknown) => {
        if (!closing.signal.aborted) {
          logger.warn({ reason: messageOf(error) }, 'not listening to the database, trying again');
        }
      });
      await sleep(500, undefined, { signal: closing.signal }).catch(() => undefined);
    }
  })();

  return {
    ...channels,
    letGo() {
      letGo.abort();
      wakeAll();
    },
    async close() {
      closing.abort();
      await listening;
    },
  };
}

/** Listens until the connection ends or `signal` aborts. Rejects when the connection broke. */
async function listenOnce(
  databaseUrl: string,
  { wake, wakeAll }: { wake: (name: string, key: string) => void; wakeAll: () => void },
  signal: AbortSignal,
): Promise<void> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
  });
  let stop: () => void = () => undefined;
  const ended = new Promise<void>((resolve, reject) => {
    client.once('error', reject);
    client.once('end', resolve);
    stop = resolve;
  });
  signal.addEventListener('abort', stop);
  ended.catch(() => undefined); // it may break while connecting, which rejects by itself
  // A half-open connection says nothing: a statement now and then finds it out.
  const probe = setInterval(() => {
    client
      .query({ text: 'SELECT 1', query_timeout: 5_000 } as pg.QueryConfig)
      .catch((error: unknown) => {
        client.emit('error', error);
      });
  }, 15_000);
  try {
    await client.connect();
    client.on('notification', ({ channel, payload }) => {
      wake(channel, payload?.split(' ')[0] ?? '');
    });
    for (const name of Object.values(channelNames)) await client.query(`LISTEN ${name}`);
    wakeAll();
    await ended;
  } finally {
    clearInterval(probe);
    signal.removeEventListener('abort', stop);
    client.on('error', () => undefined);
    await endWithin(client, 1_000);
  }
}

/** A database that stands still, or is cut off, never takes leave of its client. */
async function endWithin(client: pg.Client, ms: number): Promise<void> {
  const overdue = new AbortController();
  await Promise.race([
    client.end().catch(() => undefined),
    sleep(ms, undefined, { signal: overdue.signal }).catch(() => undefined),
  ]);
  overdue.abort();
}

function createChannel(letGo: AbortSignal) {
  const watches = new Map<string, Set<() => void>>();
  const listeners = new Set<() => void>();
  const tell = (set: Iterable<() => void>) => {
    for (const notify of set) notify();
  };
  return {
    watch: (key = '') => createWatch(watches, key, letGo),
    onAnyChange: (listener: () => void) => void listeners.add(listener),
    wake(key: string): void {
      tell(listeners);
      tell(watches.get(key) ?? []);
    },
    wakeAll(): void {
      tell(listeners);
      for (const set of watches.values()) tell(set);
    },
  };
}

function createWatch(
  watches: Map<string, Set<() => void>>,
  key: string,
  letGo: AbortSignal,
): Watch {
  let changed = false;
  let resolveNext: (() => void) | undefined;
  const notify = () => {
    changed = true;
    resolveNext?.();
  };
  const set = watches.get(key) ?? new Set();
  watches.set(key, set.add(notify));

  return {
    async next(signal) {
      if (!changed && !signal.aborted && !letGo.aborted) {
        await new Promise<void>((resolve) => {
          resolveNext = resolve;
          signal.addEventListener('abort', notify, { once: true });
        });
        signal.removeEventListener('abort', notify);
      }
      changed = false;
      resolveNext = undefined;
    },
    get isLetGo() {
      return letGo.aborted;
    },
    close() {
      set.delete(notify);
      if (set.size === 0 && watches.get(key) === set) watches.delete(key);
    },
  };
}
