import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { ByteBudget } from './limits.js';
import type { Connection } from './method.js';
import { greeting, piecesOf, readPeer, ready, ZmtpError } from './zmtp.js';

/** Messages to and from clients, as a ROUTER of ZeroMQ has them. */
export interface Router {
  /** Returns the port. */
  bind(address: { host: string; port: number }): Promise<number>;
  /**
   * Hands a message over. `full`: what was handed over before has not gone out, it may be tried later; `gone`: the
   * client is not connected any more. Of what is `sent` is told once when it takes no memory here any longer.
   */
  send(to: Connection, frames: readonly Buffer[], onOut: () => void): 'sent' | 'full' | 'gone';
  /** Disconnects a client that takes nothing: what waits for it is given up. */
  cut(connection: Connection): void;
  /** What has been handed over goes out for a moment yet. Resolves once the address is free for another. */
  close(): Promise<void>;
}

const maxConnections = 4_096;
const handshakeMs = 10_000;
/** A client that takes nothing of what is sent, or leaves a message half sent, for so long is disconnected. */
const maxStallMs = 60_000;
/** What waits in the socket of one client before it counts as full. */
const maxWaitingBytes = 64 * 1024;
/** Of what is not there whole so much takes nothing of the budget. */
const freePartBytes = 4 * 1024;
/** Pieces are joined where that makes one write of them. */
const maxJoinedBytes = 16 * 1024;
const lingerMs = 1_000;

export function openRouter(options: {
  maxFrameBytes: number;
  budget: ByteBudget;
  onMessage: (from: Connection, frames: readonly Buffer[]) => void;
  /** Told once of each client: nothing comes from it any more, and nothing goes to it. */
  onGone: (connection: Connection) => void;
  onFault: (error: unknown) => void;
}): Router {
  const clients = new Map<Connection, Socket>();
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 });
  server.maxConnections = maxConnections;
  let count = 0;

  function leave(connection: Connection): void {
    if (clients.delete(connection)) options.onGone(connection);
  }

  server.on('connection', (socket) => {
    count += 1;
    const connection = { id: String(count), address: socket.remoteAddress ?? '' };
    sockets.add(socket);
    const isSlow = setTimeout(() => socket.destroy(), handshakeMs);
    const parts = joinParts(
      readPeer(
        {
          onReady() {
            clearTimeout(isSlow);
            clients.set(connection, socket);
          },
          onPart: (bytes) => parts.keep(bytes),
          onMessage: (frames) => options.onMessage(connection, frames),
          reply(command) {
            if (socket.writableLength > maxWaitingBytes)
              throw new ZmtpError('answers are not taken');
            socket.write(command);
          },
        },
        options,
      ),
      options.budget,
    );
    socket.write(Buffer.concat([greeting, ready]));
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      try {
        if (!parts.take(chunk)) socket.destroy();
      } catch (error) {
        if (!(error instanceof ZmtpError)) options.onFault(error);
        socket.destroy();
      }
    });
    socket.setTimeout(maxStallMs, () => {
      if (parts.isHalf()) socket.destroy();
    });
    socket.on('close', () => {
      clearTimeout(isSlow);
      parts.drop();
      sockets.delete(socket);
      leave(connection);
    });
  });

  return {
    bind: ({ host, port }) =>
      new Promise((resolve, reject) => {
        server.once('error', reject).listen({ host, port }, () => {
          server.off('error', reject).on('error', options.onFault);
          resolve((server.address() as AddressInfo).port);
        });
      }),
    send(to, frames, onOut) {
      const socket = clients.get(to);
      if (socket === undefined || !socket.writable) return 'gone';
      if (socket.writableLength > maxWaitingBytes) return 'full';
      writeAll(socket, [...piecesOf(frames)], onOut);
      return 'sent';
    },
    cut(connection) {
      const socket = clients.get(connection);
      leave(connection);
      socket?.destroy();
    },
    async close() {
      if (!server.listening) return;
      const isClosed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.end();
      const late = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, lingerMs);
      await isClosed;
      clearTimeout(late);
    },
  };
}

/** A socket whose peer does not take them in time is destroyed. */
function writeAll(socket: Socket, pieces: readonly Buffer[], onOut: () => void): void {
  const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const joined = bytes <= maxJoinedBytes ? [Buffer.concat(pieces, bytes)] : pieces;
  let stalled: NodeJS.Timeout | undefined;
  const end = () => {
    clearTimeout(stalled);
    onOut();
  };
  socket.cork();
  for (const [index, piece] of joined.entries()) {
    // Called of a socket that is destroyed, too.
    if (index < joined.length - 1) socket.write(piece);
    else socket.write(piece, end);
  }
  socket.uncork();
  if (socket.writableLength > 0) stalled = setTimeout(() => socket.destroy(), maxStallMs);
}

/** Gives a reader the parts it asks for, out of chunks as they come. What is not there whole takes of the budget. */
function joinParts(reader: Generator<number, void, Buffer>, budget: ByteBudget) {
  let wanted = reader.next().value ?? 0;
  let chunks: Buffer[] = [];
  let have = 0;
  let kept = 0;
  let held = 0;

  return {
    /** False: there is no room. */
    take(chunk: Buffer): boolean {
      chunks.push(chunk);
      have += chunk.length;
      while (have >= wanted) {
        const all = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, have);
        const whole = all.subarray(0, wanted);
        // A short part would keep all that came with it.
        const part = wanted > maxJoinedBytes ? whole : Buffer.from(whole);
        have -= wanted;
        chunks = have > 0 ? [all.subarray(wanted)] : [];
        wanted = reader.next(part).value ?? 0;
      }
      const missing = Math.max(have + kept - freePartBytes, 0) - held;
      if (missing > 0 && !budget.take(missing)) return false;
      if (missing < 0) budget.give(-missing);
      held += missing;
      return true;
    },
    /** What the reader has of a message that is not there whole. */
    keep: (bytes: number) => void (kept = bytes),
    isHalf: () => have > 0 || kept > 0,
    drop() {
      budget.give(held);
      held = 0;
      chunks = [];
      have = 0;
    },
  };
}
