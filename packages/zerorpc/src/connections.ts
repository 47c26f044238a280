import type { Connection } from './method.js';

/** A client as the server keeps it. */
export interface Peer {
  connection: Connection;
  /** Calls whose methods have not come to their end. */
  calls: number;
  /** What the requests of those take of the budget. */
  bytes: number;
}

/** Clients are remembered for as long as that, and so many: nobody tells when one has gone. */
const idleMs = 60 * 60_000;
const maxPeers = 16_384;

export interface Connections {
  /** The client that ZeroMQ calls so. */
  of(frame: Buffer): Peer;
  forget(id: string): void;
}

export function rememberConnections(): Connections {
  /** Those that were heard of last stand last. */
  const peers = new Map<string, Peer & { usedAt: number }>();

  function forgetIdle(now: number): void {
    for (const [id, peer] of peers) {
      if (peers.size <= maxPeers && now - peer.usedAt < idleMs) return;
      if (peer.calls === 0) peers.delete(id);
    }
  }

  return {
    of(frame) {
      const id = frame.toString('hex');
      const now = performance.now();
      const peer = peers.get(id) ?? {
        connection: connectionOf(id, frame),
        calls: 0,
        bytes: 0,
        usedAt: now,
      };
      peer.usedAt = now;
      peers.delete(id);
      peers.set(id, peer);
      forgetIdle(now);
      return peer;
    },
    forget: (id) => void peers.delete(id),
  };
}

function connectionOf(id: string, frame: Buffer): Connection {
  return { id, isChosenId: frame.length !== 5 || frame[0] !== 0 };
}
