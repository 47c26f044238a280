import type { IncomingMessage } from 'node:http';
import { awaitsContinue } from './expect-continue.js';

/** How much of a refused body is read, so that its sender gets to read the answer. */
const maxDiscardedBytes = 64 * 1024 ** 2;
const maxDiscardingMs = 60_000;

/** Whether a body follows the headers. */
export function carriesBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * Reads what is left of a body and throws it away. Many clients write their whole body before they
 * look for the answer, and a connection closed under them loses it. A sender that goes on for too
 * long is cut; one that waits for our word to send (Expect) is not asked to.
 */
export function discardBody(message: IncomingMessage): void {
  if (message.destroyed || message.readableEnded || awaitsContinue(message)) return;
  let bytes = 0;
  const { socket } = message;
  const cut = () => socket.destroy();
  const overdue = setTimeout(cut, maxDiscardingMs);
  message.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > maxDiscardedBytes) cut();
  });
  message.once('close', () => clearTimeout(overdue));
  message.resume();
}
