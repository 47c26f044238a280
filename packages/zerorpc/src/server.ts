import { createAnswers, type Addressee } from './answers.js';
import { keepBeats, openChannel, type Channel } from './channel.js';
import type { DropReason } from './dropped.js';
import { decodeEvent, type IncomingEvent } from './event.js';
import { withIntrospection } from './introspection.js';
import { defaultLimits, type ByteBudget, type ZeroRpcLimits } from './limits.js';
import type { Connection, MethodTable } from './method.js';
import { createOutbox } from './outbox.js';
import { FormError } from './outline.js';
import { openRouter } from './router.js';
import { runCall } from './run-call.js';
import {
  isBusy,
  isLate,
  isStopping,
  lostRemote,
  tooManyCalls,
  type ZeroRpcError,
} from './zerorpc-error.js';

export interface ZeroRpcServer {
  /** Returns the port. Called once. */
  listen(address: { host: string; port: number }): Promise<number>;
  /** New calls are refused; those that are under way have `graceMs`, and end with an error then. */
  close(graceMs: number): Promise<void>;
}

export interface ZeroRpcServerOptions {
  serviceName: string;
  methods: MethodTable;
  limits?: Partial<ZeroRpcLimits>;
  /** What requests and answers take while they are here. */
  budget: ByteBudget;
  /** Is told what is thrown and no ZeroRpcError; the client hears that the server failed. */
  onFault: (error: unknown) => void;
  /** Is told of each message that is dropped, and once of a client that goes, or is given up, while something waits for it. */
  onDropped?: (reason: DropReason) => void;
  /** Connections of one group may be half of all. Undefined: it is not counted. */
  groupOf?: ((address: string) => string | undefined) | undefined;
  /** Is told of each connection that is turned away. */
  onCrowd?: (() => void) | undefined;
  /** How long a call may take. Unless it is said: as long as its client is there. */
  maxCallMs?: number;
  /** How often heartbeats are sent; a client that is silent for twice as long is lost. Clients expect 5 s. */
  beatMs?: number;
}

/** What a client has under way. */
interface Load {
  /** Calls whose methods have not come to their end. */
  calls: number;
  /** What the requests of those take of the budget. */
  bytes: number;
  /** Messages that were none, since the last that was one. */
  misfits: number;
}

/** What still waits for clients when all calls have ended goes out within this time. */
const flushMs = 1_000;
/** Who sends so many messages in a row that are none is disconnected: each takes its time. */
const maxMisfits = 100;

/** The server side of ZeroRPC, for clients of versions 3 and 2 of its protocol, and 1. */
export function createZeroRpcServer(options: ZeroRpcServerOptions): ZeroRpcServer {
  const { methods, budget, onFault, onDropped = () => undefined } = options;
  const { maxCallMs = Infinity, beatMs = 5_000 } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const table = withIntrospection(options.serviceName, methods);
  const loads = new WeakMap<Connection, Load>();
  const channels = new Map<string, Channel>();
  const running = new Set<Promise<void>>();
  let isClosing = false;
  let closed: Promise<void> | undefined;

  const router = openRouter({
    ...{ groupOf: options.groupOf, onCrowd: options.onCrowd },
    ...{ maxFrameBytes: limits.maxFrameBytes, maxPartBytes: limits.maxPartBytes, budget },
    ...{ onMessage: receive, onGone: abandon, onFault },
    onRoom: (connection) => outbox.resume(connection),
  });
  const outbox = createOutbox({
    ...{ router, budget, onFault },
    maxBytes: limits.maxQueuedBytesPerPeer,
    maxMessages: limits.maxQueuedMessagesPerPeer,
    onLost(connection, reason) {
      onDropped(reason);
      router.cut(connection);
    },
  });
  const answers = createAnswers(outbox, limits);
  const stopBeats = keepBeats({
    ...{ channels, beatMs, beat: answers.beat },
    isAmid: ({ connection }) => router.isAmid(connection),
    // A client that was only asleep finds the error when it wakes.
    onSilent: (channel) => end(channel, lostRemote()),
    onLate: (channel) => end(channel, isLate()),
  });

  /** A client has gone: nobody waits for what it has asked. */
  function abandon(connection: Connection): void {
    if (outbox.drop(connection)) onDropped('peer-gone');
    for (const channel of [...channels.values()]) {
      if (channel.connection === connection) channel.abort(lostRemote());
    }
  }

  function receive(from: Connection, frames: readonly Buffer[]): void {
    try {
      take(from, frames);
    } catch (error) {
      if (!(error instanceof FormError)) {
        onFault(error);
        return;
      }
      onDropped('form');
      const load = loadOf(from);
      load.misfits += 1;
      if (load.misfits >= maxMisfits) router.cut(from);
    }
  }

  function loadOf(connection: Connection): Load {
    const load = loads.get(connection) ?? { calls: 0, bytes: 0, misfits: 0 };
    loads.set(connection, load);
    return load;
  }

  function take(from: Connection, frames: readonly Buffer[]): void {
    const route = frames.slice(0, -2);
    const [separator, frame] = frames.slice(-2);
    if (separator?.length !== 0 || frame === undefined) {
      throw new FormError('A message has an empty frame before its last.');
    }
    const event = decodeEvent(frame, limits);
    const way = [from.id, ...route.map((one) => one.toString('hex'))].join('.');
    if (event.responseTo === undefined) open(`${way}/${event.messageId.key}`, from, route, event);
    else hear(channels.get(`${way}/${event.responseTo.key}`), event);
    loadOf(from).misfits = 0;
  }

  /** A message on a channel that is open: a heartbeat, or room for a stream. */
  function hear(channel: Channel | undefined, event: IncomingEvent): void {
    if (channel === undefined) {
      onDropped('channel');
      return;
    }
    channel.heardAt = performance.now();
    // Clients of version 2 grant room by their heartbeats.
    const isGrant = event.name === '_zpc_more' || (event.name === '_zpc_hb' && channel.version < 3);
    if (isGrant) {
      const slots = slotsOf(event.readArgs());
      if (slots !== undefined) channel.grant(slots);
      else onDropped('event');
    } else if (event.name !== '_zpc_hb') onDropped('event');
  }

  function open(
    key: string,
    connection: Connection,
    route: readonly Buffer[],
    event: IncomingEvent,
  ): void {
    if (channels.has(key)) {
      onDropped('repeated');
      return;
    }
    const load = loadOf(connection);
    const to: Addressee = {
      connection,
      route: route.map((frame) => Buffer.from(frame)),
      ...{ id: event.messageId, version: event.version },
    };
    const refusal =
      refusalOf(load, event.cost) ?? (outbox.takeRoom(event.cost) ? undefined : isBusy());
    if (refusal !== undefined) {
      answers.refuse(to, refusal);
      return;
    }
    const channel = openChannel({ key, ...to }, { now: performance.now(), beatMs, maxCallMs });
    channels.set(key, channel);
    channel.signal.addEventListener('abort', () => channels.delete(key), { once: true });
    load.calls += 1;
    load.bytes += event.cost;
    let held = event.cost;
    const run = runCall(channel, event, {
      ...{ table, answers, onFault },
      take(bytes) {
        const isTaken = outbox.takeRoom(bytes);
        if (isTaken) held += bytes;
        return isTaken;
      },
      onAnswered: () => channels.delete(key),
    }).finally(() => {
      load.calls -= 1;
      load.bytes -= event.cost;
      budget.give(held);
      running.delete(run);
    });
    running.add(run);
  }

  function end(channel: Channel, reason: ZeroRpcError): void {
    answers.refuse(channel, reason);
    channel.abort(reason);
  }

  function refusalOf(load: Load, bytes: number): ZeroRpcError | undefined {
    const { maxCallsPerPeer, maxRequestBytesPerPeer } = limits;
    if (isClosing) return isStopping();
    if (load.calls >= maxCallsPerPeer) return tooManyCalls(`${maxCallsPerPeer} calls`);
    if (load.calls > 0 && load.bytes + bytes > maxRequestBytesPerPeer) {
      return tooManyCalls(`${maxRequestBytesPerPeer} bytes of requests`);
    }
    return running.size >= limits.maxCalls ? isBusy() : undefined;
  }

  async function close(graceMs: number): Promise<void> {
    isClosing = true;
    await settled(running, graceMs);
    for (const channel of [...channels.values()]) {
      end(channel, isStopping());
    }
    await outbox.flushed(flushMs);
    stopBeats();
    outbox.close();
    await router.close();
  }

  return {
    listen: (address) => router.bind(address),
    close: (graceMs) => (closed ??= close(graceMs)),
  };
}

function slotsOf(args: unknown): number | undefined {
  const slots: unknown = Array.isArray(args) ? args[0] : undefined;
  if (typeof slots !== 'number' && typeof slots !== 'bigint') return undefined;
  return slots >= 0 ? Math.trunc(Number(slots)) : undefined;
}

/** Waits until all have come to their end, or the time is over. */
async function settled(running: ReadonlySet<Promise<void>>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)));
  await Promise.race([Promise.allSettled([...running]), timeout]);
  clearTimeout(timer);
}
