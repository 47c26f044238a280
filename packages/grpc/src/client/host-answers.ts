import { connect } from 'node:net';
import { addressOf } from './peer-session.js';

/** What the system says of a host from which nothing comes. */
const goneCodes = ['ETIMEDOUT', 'EHOSTUNREACH', 'EHOSTDOWN', 'ENETUNREACH'];

/** Whether the system of a peer's host says anything within `timeoutMs`, be it that nobody listens any more. */
export function hostAnswers(
  address: string,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(addressOf(address));
    const end = (isThere: boolean) => {
      clearTimeout(overdue);
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve(isThere);
    };
    const onAbort = () => end(true);
    const overdue = setTimeout(() => end(false), timeoutMs);
    socket.once('connect', () => end(true));
    // Of our own troubles it is not to blame.
    socket.on('error', ({ code }: NodeJS.ErrnoException) => end(!goneCodes.includes(code ?? '')));
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}
