import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { ByteBudget } from './limits.js';
import type { Connection } from './method.js';
import { createPartRooms } from './part-room.js';
import { joinParts, type Parts } from './parts.js';
import { openWriter, type Writer } from './writer.js';
import { greeting, piecesOf, readPeer, ready, ZmtpError } from './zmtp.js';

/** Messages to and from clients, as a ROUTER of ZeroMQ has them. */
export interface Router {
  /** Returns the port. */
  bind(address: { host: string; port: number }): Promise<number>;
  /**
   * Hands a message over. `full`: what was handed over before has not gone out, `onRoom` tells when; `gone`: the
   * client is not connected any more. Of what is `sent` is told once when it takes no memory here any longer.
   */
  send(to: Connection, frames: readonly Buffer[], onOut: () => void): 'sent' | 'full' | 'gone';
  /** Since when nothing has gone out of what waits (performance.now()). */
  waitingSince(connection: Connection): number | undefined;
  /** Whether something has come of a message, and not all. */
  isAmid(connection: Connection): boolean;
  /** Disconnects a client that takes nothing: what waits for it is given up. */
  cut(connection: Connection): void;
  /** What has been handed over goes out for a moment yet. Resolves once the address is free for another. */
  close(): Promise<void>;
}

const defaultConnections = 4_096;
const defaultHandshakeMs = 10_000;
/** A client that is amid a message and sends next to nothing for so long is disconnected, and one that takes nothing. */
const defaultStallMs = 60_000;
const minBytesPerS = 1_024;
/** Then others have their turn: who floods the door is not to hold them up. */
const partsPerTurn = 256;
/** Nothing tells when there is room again. */
const lookForRoomMs = 50;
const lingerMs = 1_000;

export function openRouter(options: {
  maxFrameBytes: number;
  maxPartBytes: number;
  budget: ByteBudget;
  maxConnections?: number;
  /** Those of one group may have half of the connections: one caller alone is not to have all. Undefined: it is not counted. */
  groupOf?: ((address: string) => string | undefined) | undefined;
  /** Told of each connection that is turned away. */
  onCrowd?: (() => void) | undefined;
  handshakeMs?: number;
  stallMs?: number;
  onMessage: (from: Connection, frames: readonly Buffer[]) => void;
  /** Told when a client that was `full` takes messages again. */
  onRoom: (connection: Connection) => void;
  /** Told once of each client: nothing comes from it any more, and nothing goes to it. */
  onGone: (connection: Connection) => void;
  onFault: (error: unknown) => void;
}): Router {
  const { groupOf = () => undefined, onCrowd = () => undefined } = options;
  const { maxConnections = defaultConnections } = options;
  const { handshakeMs = defaultHandshakeMs, stallMs = defaultStallMs } = options;
  const clients = new Map<Connection, { writer: Writer; parts: Parts }>();
  const writers = new Set<Writer>();
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 });
  server.maxConnections = maxConnections;
  server.on('drop', onCrowd);
  const perGroup = new Map<string, number>();
  const rooms = createPartRooms({
    ...{ budget: options.budget, trustedBytes: options.maxPartBytes },
    strangerBytes: 2 * options.maxFrameBytes,
  });
  let count = 0;

  function leave(connection: Connection): void {
    if (clients.delete(connection)) options.onGone(connection);
  }

  /** False: there are too many of its group. */
  function enter(socket: Socket, group: string | undefined): boolean {
    if (group === undefined) return true;
    const there = perGroup.get(group) ?? 0;
    if (there >= maxConnections / 2) return false;
    perGroup.set(group, there + 1);
    socket.once('close', () => {
      const left = (perGroup.get(group) ?? 1) - 1;
      if (left > 0) perGroup.set(group, left);
      else perGroup.delete(group);
    });
    return true;
  }

  server.on('connection', (socket) => {
    socket.on('error', () => undefined);
    const address = socket.remoteAddress ?? '';
    if (!enter(socket, groupOf(address))) {
      onCrowd();
      socket.destroy();
      return;
    }
    count += 1;
    const connection: Connection = { id: String(count), address, isTrusted: false };
    const onRoom = () => options.onRoom(connection);
    const writer = openWriter(socket, { stallMs, onRoom });
    writers.add(writer);
    const isSlow = setTimeout(() => socket.destroy(), handshakeMs);
    const parts = joinParts(
      readPeer(
        {
          onReady() {
            clearTimeout(isSlow);
            clients.set(connection, { writer, parts });
          },
          onMessage: (frames) => options.onMessage(connection, frames),
          // A peer that has much to read as it is hears that it was heard.
          reply: (command) => void writer.write(() => [command]),
        },
        options,
      ),
      rooms.open({ isTrusted: () => connection.isTrusted, cut: () => socket.destroy() }),
    );
    writer.write(() => [greeting, ready]);
    readInTurns(socket, parts, (error) => {
      if (!(error instanceof ZmtpError)) options.onFault(error);
      socket.destroy();
    });
    endWhenSlow(socket, parts, stallMs);
    socket.on('close', () => {
      clearTimeout(isSlow);
      parts.drop();
      writers.delete(writer);
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
      const client = clients.get(to);
      if (client === undefined) return 'gone';
      return client.writer.write(() => piecesOf(frames), onOut) ? 'sent' : 'full';
    },
    waitingSince: (connection) => clients.get(connection)?.writer.waitingSince(),
    isAmid: (connection) => clients.get(connection)?.parts.amid() !== undefined,
    cut(connection) {
      const client = clients.get(connection);
      leave(connection);
      client?.writer.cut();
    },
    async close() {
      if (!server.listening) return;
      const isClosed = new Promise((resolve) => server.close(resolve));
      for (const writer of writers) writer.end();
      const late = setTimeout(() => {
        for (const writer of writers) writer.cut();
      }, lingerMs);
      await isClosed;
      clearTimeout(late);
    },
  };
}

function readInTurns(socket: Socket, parts: Parts, onError: (error: unknown) => void): void {
  function read(): void {
    try {
      let outcome: ReturnType<Parts['next']> = 'given';
      for (let n = 0; n < partsPerTurn && outcome === 'given'; n += 1) {
        if (socket.destroyed) return;
        outcome = parts.next();
      }
      if (outcome === 'missing') {
        socket.resume();
        return;
      }
      // What is not read waits with its sender.
      socket.pause();
      if (outcome === 'given') setImmediate(read);
      else setTimeout(read, lookForRoomMs);
    } catch (error) {
      onError(error);
    }
  }

  socket.on('data', (chunk) => {
    parts.push(chunk);
    read();
  });
}

/** Ends a connection on which next to nothing comes of what is still to come of a message, or finds no room. */
function endWhenSlow(socket: Socket, parts: Parts, stallMs: number): void {
  const look = () => ({ message: parts.amid(), bytes: socket.bytesRead });
  let before = look();
  const timer = setInterval(() => {
    // Where this process stood still, it hears only now of what has come.
    setImmediate(() => {
      const { message, bytes } = look();
      const isSame = message !== undefined && message === before.message;
      if (isSame && bytes - before.bytes < (stallMs / 1_000) * minBytesPerS) socket.destroy();
      before = { message, bytes };
    });
  }, stallMs);
  socket.on('close', () => clearInterval(timer));
}
