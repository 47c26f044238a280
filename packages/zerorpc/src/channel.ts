import type { RawId } from './event.js';
import type { Connection } from './method.js';
import type { ZeroRpcError } from './zerorpc-error.js';
import { wokenOrAborted } from './outbox.js';

/**
 * A call from its first message to its last.
 *
 *   open ──OK, ERR, STREAM_DONE──▶ ended
 *     └──silence, a client that is gone, its time, the server's end (signal aborts)──▶ ended
 */
export interface Channel {
  readonly key: string;
  readonly connection: Connection;
  /** The frames that lead through proxies to the client. */
  readonly route: readonly Buffer[];
  /** What opened it, which names it. */
  readonly id: RawId;
  readonly version: number;
  readonly signal: AbortSignal;
  /** When the client was last heard of, and when the next heartbeat is due (performance.now()). */
  heardAt: number;
  beatAt: number;
  /** When its time is over. */
  readonly deadlineAt: number;
  /** Whether a heartbeat still waits to go out: a second one would say no more. */
  isBeatWaiting: boolean;
  /** The client has room for so many more messages. */
  grant(slots: number): void;
  /** Takes a slot, when there is one. Rejects with the signal's reason. */
  slot(): Promise<void>;
  abort(reason: ZeroRpcError): void;
}

/** More than any client has memory for: the count stays a number that can be counted on. */
const maxSlots = 2 ** 31;

export function openChannel(
  named: Pick<Channel, 'key' | 'connection' | 'route' | 'id' | 'version'>,
  { now, beatMs, maxCallMs }: { now: number; beatMs: number; maxCallMs: number },
): Channel {
  const over = new AbortController();
  const wakers = new Set<() => void>();
  // The answer of a call that gives one value needs no grant; nor does the first item of a stream.
  let slots = 1;
  return {
    ...named,
    signal: over.signal,
    // A passive client sends its first heartbeat when it has had ours for a while: it is given the time.
    heardAt: now + beatMs,
    beatAt: now + beatMs,
    deadlineAt: now + maxCallMs,
    isBeatWaiting: false,
    grant(more) {
      slots = Math.min(maxSlots, slots + more);
      for (const wake of [...wakers]) wake();
    },
    async slot() {
      for (;;) {
        over.signal.throwIfAborted();
        if (slots > 0) break;
        await wokenOrAborted(wakers, over.signal);
      }
      slots -= 1;
    },
    abort: (reason) => over.abort(reason),
  };
}

/**
 * Has heartbeats sent on open channels, and tells of those whose clients are silent for two of them, and of those
 * whose time is over. One timer for all.
 */
export function keepBeats({
  channels,
  beatMs,
  beat,
  isAmid,
  onSilent,
  onLate,
}: {
  channels: ReadonlyMap<string, Channel>;
  beatMs: number;
  beat: (channel: Channel) => void;
  /** Whether the client is amid a message: there is no place for another in it. */
  isAmid: (channel: Channel) => boolean;
  onSilent: (channel: Channel) => void;
  onLate: (channel: Channel) => void;
}): () => void {
  const lookMs = beatMs / 20;
  let lookedAt = performance.now();

  function look(): void {
    const now = performance.now();
    const sinceMs = now - lookedAt;
    // While this process stood still, clients spoke to nobody: what they said waits to be read.
    const pauseMs = sinceMs - lookMs > beatMs / 2 ? sinceMs - lookMs : 0;
    lookedAt = now;
    for (const channel of [...channels.values()]) {
      channel.heardAt += isAmid(channel) ? sinceMs : pauseMs;
      if (now >= channel.deadlineAt) onLate(channel);
      else if (now - channel.heardAt > 2 * beatMs) onSilent(channel);
      else if (now >= channel.beatAt) {
        channel.beatAt = now + beatMs - lookMs / 2;
        beat(channel);
      }
    }
  }

  const timer = setInterval(look, lookMs);
  timer.unref();
  return () => clearInterval(timer);
}
