import type { FastifyReply } from 'fastify';

/**
 * Ends the connection of an answer of which nothing could be sent for `stalledMs`: a client that
 * stopped reading, or is gone without a word, holds its file and the hops before it no longer. Slow
 * is not stalled. Node puts the connection's own time-outs back when the answer is out.
 */
export function cutWhenStalled(reply: FastifyReply, stalledMs = defaultStalledMs): void {
  reply.raw.socket?.setTimeout(stalledMs);
}

/** Longer than any answer is held back on purpose, also for one that follows on the connection. */
const defaultStalledMs = 2 * 60_000;
