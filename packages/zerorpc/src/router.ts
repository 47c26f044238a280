import { createServer, type AddressInfo } from 'node:net';
import type { ByteBudget } from './limits.js';
import type { Connection } from './method.js';
import { greeting, piecesOf, readPeer, ready, ZmtpError } from './zmtp.js';
import { openWriter, type Writer } from './writer.js';

/** Messages to and from clients, as a ROUTER of ZeroMQ has them. */
export interface Router {
  /** Returns the port. */
  bind(address: { host: string; port: number }): Promise<number>;
  /**
   * Hands a message over. `full`: what was handed over before has not gone out, `onRoom` tells when; `gone`: the
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
/** A client that leaves a message half sent, and says nothing for so long, is disconnected. */
const maxStallMs = 60_000;
/** Of what is not there whole so much takes nothing of the budget. */
const freePartBytes = 4 * 1024;
/** A part as short as that is copied: it would keep all that came with it. */
const maxCopiedBytes = 16 * 1024;
const lingerMs = 1_000;

export function openRouter(options: {
  maxFrameBytes: number;
  budget: ByteBudget;
  onMessage: (from: Connection, frames: readonly Buffer[]) => void;
  /** Told when a client that was `full` takes messages again. */
  onRoom: (connection: Connection) => void;
  /** Told once of each client: nothing comes from it any more, and nothing goes to it. */
  onGone: (connection: Connection) => void;
  onFault: (error: unknown) => void;
}): Router {
  const clients = new Map<Connection, Writer>();
  const writers = new Set<Writer>();
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 });
  server.maxConnections = maxConnections;
  let count = 0;

  function leave(connection: Connection): void {
    if (clients.delete(connection)) options.onGone(connection);
  }

  server.on('connection', (socket) => {
    count += 1;
    const connection = { id: String(count), address: socket.remoteAddress ?? '' };
    const writer = openWriter(socket, () => options.onRoom(connection));
    writers.add(writer);
    const isSlow = setTimeout(() => socket.destroy(), handshakeMs);
    const parts = joinParts(
      readPeer(
        {
          onReady() {
            clearTimeout(isSlow);
            clients.set(connection, writer);
          },
          onPart: (bytes) => parts.keep(bytes),
          onMessage: (frames) => options.onMessage(connection, frames),
          // A peer that has much to read as it is hears that it was heard.
          reply: (command) => void writer.write(() => [command]),
        },
        options,
      ),
      options.budget,
    );
    writer.write(() => [greeting, ready]);
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
      const writer = clients.get(to);
      if (writer === undefined) return 'gone';
      return writer.write(() => piecesOf(frames), onOut) ? 'sent' : 'full';
    },
    cut(connection) {
      const writer = clients.get(connection);
      leave(connection);
      writer?.cut();
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
        const part = wanted > maxCopiedBytes ? whole : Buffer.from(whole);
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
