import { lookup } from 'node:dns/promises';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { Router as RouterSocket } from 'zeromq';

/** Messages to and from clients: the only file that knows ZeroMQ. */
export interface Router {
  /** Returns the port. */
  bind(address: { host: string; port: number }): Promise<number>;
  /**
   * Hands a message over. `full`: the client's share of ZeroMQ's memory is used, it may be tried later; `gone`: it
   * is not connected any more.
   */
  send(frames: readonly Buffer[]): Promise<'sent' | 'full' | 'gone'>;
  /** Resolves once its address is free for another. */
  close(): Promise<void>;
}

/**
 * Messages that ZeroMQ holds for one client beside what its system's buffers do. It counts no bytes: so they are few.
 * The reader of a stream still finds the next ones there when it has taken some.
 */
const heldMessages = 8;
/** Of requests that have come, and that we have not read. */
const heldRequests = 16;
/** Messages that are there already are read for so long without a break for other work. */
const maxTurnMs = 10;
/** A client whose system takes nothing for so long is disconnected, and what is held for it given up. */
const maxUntakenMs = 30_000;
/** What has been handed over goes out for so long after the end. */
const lingerMs = 1_000;

export function openRouter(options: {
  maxFrameBytes: number;
  refusesOldPeers: boolean;
  onMessage: (frames: readonly Buffer[]) => void;
  onFault: (error: unknown) => void;
}): Router {
  const socket = new RouterSocket({
    // Else what cannot go out is dropped without a word.
    mandatory: true,
    // Never waits: with mandatory, a wait for one client would be a wait for all.
    sendTimeout: 0,
    sendHighWaterMark: heldMessages,
    receiveHighWaterMark: heldRequests,
    maxMessageSize: options.maxFrameBytes,
    linger: lingerMs,
    // Where there is a domain of ZAP, peers that could not take part in it are refused; nobody asks others for more.
    ...(options.refusesOldPeers && { zapDomain: 'zerorpc' }),
    // ZeroMQ's own heartbeats are not known to clients before its version 4.2.
    tcpKeepalive: 1,
    tcpKeepaliveIdle: 60,
    tcpKeepaliveInterval: 10,
    tcpKeepaliveCount: 3,
  });
  socket.tcpMaxRetransmitTimeout = maxUntakenMs;

  async function receive(): Promise<void> {
    let turnBegan = performance.now();
    for (;;) {
      try {
        options.onMessage(await socket.receive());
        if (performance.now() - turnBegan > maxTurnMs) {
          await nextTurn();
          turnBegan = performance.now();
        }
      } catch (error) {
        // What waits for a message is woken so when the socket is closed.
        if (socket.closed) return;
        options.onFault(error);
        await sleep(100);
      }
    }
  }

  return {
    async bind({ host, port }) {
      // ZeroMQ takes addresses, and no names.
      const { address, family } = await lookup(host);
      socket.ipv6 = family === 6;
      await socket.bind(`tcp://${family === 6 ? `[${address}]` : address}:${port}`);
      void receive();
      return Number(/:(\d+)$/.exec(socket.lastEndpoint ?? '')?.[1]);
    },
    async send(frames) {
      try {
        await socket.send(frames as Buffer[]);
        return 'sent';
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EAGAIN') return 'full';
        if (code === 'EHOSTUNREACH' || socket.closed) return 'gone';
        throw error;
      }
    },
    async close() {
      if (socket.closed) return;
      const { lastEndpoint } = socket;
      if (lastEndpoint !== null) await unbound(socket, lastEndpoint);
      socket.close();
    },
  };
}

/** Until the address is free for others: ZeroMQ gives it back in a thread of its own. */
async function unbound(socket: RouterSocket, endpoint: string): Promise<void> {
  const { events } = socket;
  const isFree = new Promise<void>((resolve) => events.on('close', () => resolve()));
  await socket.unbind(endpoint);
  await Promise.race([isFree, sleep(lingerMs, undefined, { ref: false })]);
}
