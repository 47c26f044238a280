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
  /** Whether what it sends is not read for want of room. */
  isHeldUp(connection: Connection): boolean;
  /** Disconnects a client that takes nothing: what waits for it is given up. */
  cut(connection: Connection): void;
  /** What has been handed over goes out for a moment yet. Resolves once the address is free for another. */
  close(): Promise<void>;
}

const defaultConnections = 4_096;
const defaultHandshakeMs = 10_000;
/** A client that leaves a message half sent and says nothing for so long is disconnected, and one that takes nothing. */
const defaultStallMs = 60_000;
/** Then others have their turn: who floods the door is not to hold them up. */
const partsPerTurn = 256;
/** Nothing tells when there is room again. */
const lookForRoomMs = 50;
const lingerMs = 1_000;

export function openRouter(options: {
  maxFrameBytes: number;
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
  const clients = new Map<Connection, { writer: Writer; reading: Reading }>();
  const writers = new Set<Writer>();
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 });
  server.maxConnections = maxConnections;
  server.on('drop', onCrowd);
  const perGroup = new Map<string, number>();
  const rooms = createPartRooms({
    ...{ budget: options.budget, strangerBytes: 2 * options.maxFrameBytes },
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
            clients.set(connection, { writer, reading });
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
    const reading = readInTurns(socket, parts, (error) => {
      if (!(error instanceof ZmtpError)) options.onFault(error);
      socket.destroy();
    });
    endWhenHalf(socket, parts, stallMs);
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
    isHeldUp: (connection) => clients.get(connection)?.reading.isHeldUp() === true,
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

interface Reading {
  isHeldUp(): boolean;
}

function readInTurns(socket: Socket, parts: Parts, onError: (error: unknown) => void): Reading {
  let outcome: ReturnType<Parts['next']> = 'missing';

  function read(): void {
    try {
      outcome = 'given';
      for (let n = 0; n < partsPerTurn && outcome === 'given'; n += 1) {
        if (socket.destroyed) return;
        outcome = parts.next();
      }
    } catch (error) {
      onError(error);
      return;
    }
    if (outcome === 'missing') {
      socket.resume();
      return;
    }
    // What is not read waits with its sender.
    socket.pause();
    if (outcome === 'given') setImmediate(read);
    else setTimeout(read, lookForRoomMs);
  }

  socket.on('data', (chunk) => {
    parts.push(chunk);
    read();
  });
  return { isHeldUp: () => outcome === 'full' };
}

/** Ends a connection on which nothing comes of what is still to come of a message, or finds no room. */
function endWhenHalf(socket: Socket, parts: Parts, stallMs: number): void {
  const timer = setTimeout(() => {
    const { bytesRead } = socket;
    // Where this process stood still, it hears only now of what has come.
    setImmediate(() => {
      if (parts.isHalf() && socket.bytesRead === bytesRead) socket.destroy();
      if (!socket.destroyed) timer.refresh();
    });
  }, stallMs);
  socket.on('data', () => timer.refresh()).on('close', () => clearTimeout(timer));
}
