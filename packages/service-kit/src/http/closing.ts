import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { AppError } from '@inference-server/errors';

/** What has to come to rest before a server is closed. */
interface Life {
  isStopping: boolean;
  /** Connections, and when they were made. */
  connections: Map<Socket, number>;
  handlers: Set<Promise<unknown>>;
}

/** By the server that all contexts of an app share. */
const lives = new WeakMap<Server, Life>();

/** A connection that says nothing for so long after it was made is one that was opened in advance. */
const silentMs = 200;

/**
 * Has an app stop in order: a request that comes on an open connection while it closes gets a 503,
 * and an answer under way says that it is the last one on its connection.
 */
export function stopInOrder(app: FastifyInstance): void {
  const life: Life = { isStopping: false, connections: new Map(), handlers: new Set() };
  lives.set(app.server, life);
  app.server.on('connection', (socket: Socket) => {
    life.connections.set(socket, performance.now());
    socket.once('close', () => life.connections.delete(socket));
  });
  app.addHook('preClose', async () => {
    life.isStopping = true;
  });
  app.addHook('onRequest', async () => {
    if (!life.isStopping) return;
    throw new AppError('SERVICE_UNAVAILABLE', 'The server is stopping.', { retryAfterS: 2 });
  });
  app.addHook('onSend', async ({ raw }, reply) => {
    // A body that still comes would be cut, and with it the answer.
    if (life.isStopping && raw.complete) reply.header('connection', 'close');
  });
}

/** Has the close of the app wait for `work`, which may go on when its connection is gone. */
export async function holdClose<Result>(
  app: FastifyInstance,
  work: Promise<Result>,
): Promise<Result> {
  const handlers = lives.get(app.server)?.handlers;
  handlers?.add(work);
  try {
    return await work;
  } finally {
    handlers?.delete(work);
  }
}

/**
 * Closes the app: what is in flight may finish within `graceMs` and is cut then, connections that are
 * idle are cut at once. Resolves when no request is worked on any more either.
 */
export async function closeHttpServer(app: FastifyInstance, graceMs: number): Promise<void> {
  const idle = setInterval(() => closeIdle(app.server), 100);
  const overdue = setTimeout(() => app.server.closeAllConnections(), graceMs);
  try {
    await app.close();
    await Promise.allSettled(lives.get(app.server)?.handlers ?? new Set<Promise<unknown>>());
  } finally {
    clearInterval(idle);
    clearTimeout(overdue);
  }
}

/** Node counts a connection that has not said anything yet as busy. */
function closeIdle(server: Server): void {
  server.closeIdleConnections();
  for (const [socket, since] of lives.get(server)?.connections ?? []) {
    if (socket.bytesRead === 0 && performance.now() - since > silentMs) socket.destroy();
  }
}
