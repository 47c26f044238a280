import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DropReason } from './dropped.js';
import { createByteBudget, type ByteBudget } from './limits.js';
import type { Connection } from './method.js';
import type { Router } from './router.js';

export interface OutgoingMessage {
  /** Told once, when it has been handed over or dropped. */
  onLeft?: () => void;
  frames: readonly Buffer[];
  bytes: number;
}

/** What waits for clients: in order for each, and each at its own pace. */
export interface Outbox {
  /** False: it was dropped. Where its receiver is the reason, the receiver's calls are ended. */
  put(to: Connection, message: OutgoingMessage): boolean;
  /** Has the message made, and puts it, when little waits for the client. Rejects with the signal's reason. */
  putInTurn(to: Connection, make: () => OutgoingMessage, signal: AbortSignal): Promise<boolean>;
  /** A client takes messages again. */
  resume(to: Connection): void;
  /** Whether something waited for a client that has gone. */
  drop(to: Connection): boolean;
  /** Takes of the budget for something else, as messages do: clients that take nothing make way. */
  takeRoom(bytes: number): boolean;
  /** Whether all has gone out within the time. */
  flushed(timeoutMs: number): Promise<boolean>;
  /** Drops what waits. */
  close(): void;
}

/** What one client has to take. */
interface Queue {
  to: Connection;
  messages: OutgoingMessage[];
  bytes: number;
  /** What of each budget is taken for it, until it has gone out. */
  held: { large: number; small: number };
  /** Whether there is no room for the first message. */
  isFull: boolean;
  wakers: Set<() => void>;
}

/** A client takes nothing when nothing has gone out for so long. */
const stuckMs = 1_000;
/** So many are handed over without a break for other work. */
const sendsPerTurn = 64;

const smallMessageBytes = 4 * 1024;
const reservedBytes = 32 * 1024 ** 2;

export function createOutbox({
  router,
  budget,
  maxBytes,
  maxMessages,
  onLost,
  onFault,
}: {
  router: Pick<Router, 'send' | 'waitingSince'>;
  budget: ByteBudget;
  /** Of one client. */
  maxBytes: number;
  maxMessages: number;
  onLost: (to: Connection, reason: DropReason) => void;
  onFault: (error: unknown) => void;
}): Outbox {
  const queues = new Map<Connection, Queue>();
  /** Those that are tried next, in turns. */
  const ready = new Set<Queue>();
  const emptied = new Set<() => void>();
  let isSending = false;
  /** Refusals and heartbeats go out also when answers have taken all that there is. */
  const reserve = createByteBudget(reservedBytes);
  const sizeOf = ({ bytes }: OutgoingMessage) => (bytes <= smallMessageBytes ? 'small' : 'large');
  const budgets = { small: reserve, large: budget };

  /** The first message is handed over: what it takes is given back when it has gone out. */
  function leave(queue: Queue): void {
    const message = queue.messages.shift();
    queue.bytes -= message?.bytes ?? 0;
    if (queue.messages.length === 0) ready.delete(queue);
    message?.onLeft?.();
    wake(queue);
  }

  function giveBack(queue: Queue, message: OutgoingMessage): void {
    // Of a client that has gone all was given back.
    if (queues.get(queue.to) !== queue) return;
    const size = sizeOf(message);
    budgets[size].give(message.bytes);
    queue.held[size] -= message.bytes;
    if (queue.held.small === 0 && queue.held.large === 0) forget(queue);
  }

  function forget(queue: Queue): void {
    queues.delete(queue.to);
    if (queues.size === 0) for (const tell of [...emptied]) tell();
  }

  function wake(queue: Queue): void {
    for (const waker of [...queue.wakers]) waker();
  }

  /** Also what has been handed over: its connection has come to its end, or will now. */
  function drop(queue: Queue): void {
    for (const size of ['small', 'large'] as const) budgets[size].give(queue.held[size]);
    ready.delete(queue);
    forget(queue);
    for (const { onLeft } of queue.messages.splice(0)) onLeft?.();
    wake(queue);
  }

  function lose(queue: Queue, reason: DropReason): void {
    drop(queue);
    onLost(queue.to, reason);
  }

  async function send(): Promise<void> {
    if (isSending) return;
    isSending = true;
    try {
      let sent = 0;
      while (ready.size > 0) {
        for (const queue of ready) {
          sendFirst(queue);
          sent += 1;
          if (sent % sendsPerTurn === 0) await nextTurn();
        }
      }
    } finally {
      isSending = false;
    }
  }

  function sendFirst(queue: Queue): void {
    const [message] = queue.messages;
    if (message === undefined) return;
    try {
      const outcome = router.send(queue.to, message.frames, () => giveBack(queue, message));
      if (outcome === 'sent') leave(queue);
      else if (outcome === 'gone') lose(queue, 'peer-gone');
      else hold(queue);
    } catch (error) {
      onFault(error);
      lose(queue, 'peer-gone');
    }
  }

  function hold(queue: Queue): void {
    queue.isFull = true;
    ready.delete(queue);
  }

  /** Where the room has come to its end, clients that take nothing make way for those that do. */
  function takeRoom(size: 'large' | 'small', bytes: number): boolean {
    while (!budgets[size].take(bytes)) {
      const worst = mostStuck(size);
      if (worst === undefined) return false;
      lose(worst, 'peer-stuck');
    }
    return true;
  }

  function mostStuck(size: 'large' | 'small'): Queue | undefined {
    const since = performance.now() - stuckMs;
    let worst: Queue | undefined;
    let most = 0;
    for (const queue of queues.values()) {
      const isStuck = (router.waitingSince(queue.to) ?? since) < since;
      if (!isStuck || queue.held[size] <= most) continue;
      worst = queue;
      most = queue.held[size];
    }
    return worst;
  }

  function put(to: Connection, message: OutgoingMessage): boolean {
    const size = sizeOf(message);
    if (!takeRoom(size, message.bytes)) {
      message.onLeft?.();
      return false;
    }
    const queue = queues.get(to) ?? emptyQueue(to);
    const isTooMuch = queue.messages.length > 0 && queue.bytes + message.bytes > maxBytes;
    queue.messages.push(message);
    queue.bytes += message.bytes;
    queue.held[size] += message.bytes;
    queues.set(to, queue);
    if (isTooMuch || queue.messages.length > maxMessages) {
      lose(queue, 'peer-stuck');
      return false;
    }
    if (!queue.isFull) {
      ready.add(queue);
      void send();
    }
    return true;
  }

  return {
    put,
    resume(to) {
      const queue = queues.get(to);
      if (queue?.isFull !== true) return;
      queue.isFull = false;
      ready.add(queue);
      void send();
    },
    drop(to) {
      const queue = queues.get(to);
      const hasWaited = (queue?.messages.length ?? 0) > 0;
      if (queue !== undefined) drop(queue);
      return hasWaited;
    },
    takeRoom: (bytes) => takeRoom('large', bytes),
    async putInTurn(to, make, signal) {
      for (;;) {
        signal.throwIfAborted();
        const queue = queues.get(to);
        const hasRoom =
          queue === undefined ||
          (queue.bytes <= maxBytes / 4 && queue.messages.length <= maxMessages / 4);
        // Made and put in one go: of many that wait, the next sees what this one took.
        if (hasRoom) return put(to, make());
        await wokenOrAborted(queue.wakers, signal);
      }
    },
    async flushed(timeoutMs) {
      if (queues.size === 0) return true;
      const timeout = AbortSignal.timeout(timeoutMs);
      await wokenOrAborted(emptied, timeout);
      return queues.size === 0;
    },
    close() {
      for (const queue of [...queues.values()]) drop(queue);
    },
  };
}

function emptyQueue(to: Connection): Queue {
  const held = { large: 0, small: 0 };
  return { to, messages: [], bytes: 0, held, isFull: false, wakers: new Set() };
}

/** Resolves when it is woken, or the signal aborts. */
export function wokenOrAborted(wakers: Set<() => void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      wakers.delete(end);
      signal.removeEventListener('abort', end);
      resolve();
    };
    wakers.add(end);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
  });
}
