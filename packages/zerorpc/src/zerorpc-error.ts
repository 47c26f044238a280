/** Thrown by a method, it is what the client gets: its RemoteError has these three. */
export class ZeroRpcError extends Error {
  override readonly name: string;
  /** Clients in Python print this in place of name and message, so that it is never empty. */
  readonly traceback: string;

  constructor(name: string, message: string, traceback: string = `${name}: ${message}`) {
    super(message);
    this.name = name;
    this.traceback = traceback;
  }
}

export function lostRemote(): ZeroRpcError {
  return new ZeroRpcError('LostRemote', 'Lost remote after 10s heartbeat');
}

export function isLate(): ZeroRpcError {
  return new ZeroRpcError('TimeoutError', 'The call was not answered in time.');
}

export function isBusy(): ZeroRpcError {
  return new ZeroRpcError('ServerBusy', 'The server holds too many messages at the moment.');
}

export function tooManyCalls(allowed: string): ZeroRpcError {
  return new ZeroRpcError('TooManyCalls', `A client has ${allowed} at a time.`);
}

export function isStopping(): ZeroRpcError {
  return new ZeroRpcError('ServerStopping', 'The server is stopping.');
}

/** What an ERR carries. Clients of version 1 of the protocol know only the text that Python shows of an error. */
export function errorArgs(error: ZeroRpcError, version: number): unknown[] {
  if (version < 2) return [`${error.name}(${quoted(error.message)})`];
  return [error.name, error.message, error.traceback];
}

function quoted(text: string): string {
  const escaped = text.replace(/[\\']/g, '\\$&').replace(/\n/g, '\\n');
  return `'${escaped}'`;
}
