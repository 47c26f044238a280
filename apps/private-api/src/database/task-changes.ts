import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';

/** Wakes whoever waits for a task to change, by the database's notifications. */
export interface TaskChanges {
  /** From now on changes of this task are kept for `next`. Close it. */
  watch(taskUid: string): TaskWatch;
  /** Called at every change of any task, and after a gap in listening. */
  onAnyChange(listener: () => void): void;
  /** The process stops: whoever waits is to answer now, and nobody is held any more. */
  letGo(): void;
  close(): Promise<void>;
}

export interface TaskWatch {
  /** Resolves at the next change since the last call, or when `signal` aborts. Never rejects. */
  next(signal: AbortSignal): Promise<void>;
  /** There is no use in waiting any more, see `letGo`: `next` resolves at once. */
  readonly isLetGo: boolean;
  close(): void;
}

/**
 * Listens on a connection of its own. After a lost connection every waiter is woken once, since a
 * change may have been missed meanwhile.
 */
export function listenToTaskChanges(databaseUrl: string, logger: Logger): TaskChanges {
  const closing = new AbortController();
  const watches = new Map<string, Set<() => void>>();
  const listeners = new Set<() => void>();
  const letGo = new AbortController();

  const wake = (taskUid: string) => {
    for (const listener of listeners) listener();
    for (const notify of watches.get(taskUid) ?? []) notify();
  };
  const wakeAll = () => {
    for (const listener of listeners) listener();
    for (const set of watches.values()) for (const notify of set) notify();
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
    watch: (taskUid) => createWatch(watches, taskUid, letGo.signal),
    onAnyChange: (listener) => void listeners.add(listener),
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
  { wake, wakeAll }: { wake: (taskUid: string) => void; wakeAll: () => void },
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
    client.on('notification', ({ payload }) => wake(payload?.split(' ')[0] ?? ''));
    await client.query('LISTEN task_changed');
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

function createWatch(
  watches: Map<string, Set<() => void>>,
  taskUid: string,
  letGo: AbortSignal,
): TaskWatch {
  let changed = false;
  let resolveNext: (() => void) | undefined;
  const notify = () => {
    changed = true;
    resolveNext?.();
  };
  const set = watches.get(taskUid) ?? new Set();
  watches.set(taskUid, set.add(notify));

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
      if (set.size === 0 && watches.get(taskUid) === set) watches.delete(taskUid);
    },
  };
}
