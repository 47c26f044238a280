import { connect } from 'node:net';

export interface HostWatch {
  /** Looks at the host from now on; once is enough. */
  begin(timeoutMs: number): void;
  end(): void;
}

/** What the system says of a host from which nothing comes. */
const goneCodes = ['ETIMEDOUT', 'EHOSTUNREACH', 'EHOSTDOWN', 'ENETUNREACH'];
/** After as long a silence the system asks each second, and gives up after ten. */
const keepAliveMs = 20_000;

/**
 * Watches whether the system of a peer's host says anything, be it that nobody listens any more, by a connection
 * that says nothing. One is kept: a peer that only computes takes none of those that wait for it, and where
 * too many wait its system hears no other.
 */
export function watchHost(address: { host: string; port: number }, onGone: () => void): HostWatch {
  let end: (() => void) | undefined;
  return {
    begin(timeoutMs) {
      if (end !== undefined) return;
      const socket = connect({
        ...address,
        keepAlive: true,
        keepAliveInitialDelay: keepAliveMs,
      });
      const over = (isGone: boolean) => {
        if (end !== stop) return;
        end = undefined;
        clearTimeout(overdue);
        socket.destroy();
        if (isGone) onGone();
      };
      const stop = () => over(false);
      end = stop;
      const overdue = setTimeout(() => over(true), timeoutMs);
      socket.once('connect', () => clearTimeout(overdue));
      // A peer that answers is there; it may send this one away.
      socket.resume();
      socket.once('close', stop);
      // Of our own troubles it is not to blame.
      socket.on('error', ({ code }: NodeJS.ErrnoException) => over(goneCodes.includes(code ?? '')));
    },
    end: () => end?.(),
  };
}
