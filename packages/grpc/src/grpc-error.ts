import { statusCodes, type StatusName } from './codes.js';
import type { Metadata } from './metadata.js';

/** A call that ended with another status than OK. Thrown by a handler, it is what the caller gets. */
export class GrpcError extends Error {
  override readonly name: string = 'GrpcError';
  readonly status: StatusName;
  readonly trailers: Metadata;

  constructor(
    status: StatusName,
    message: string,
    options: { cause?: unknown; trailers?: Metadata } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.status = status;
    this.trailers = options.trailers ?? {};
  }

  get code(): number {
    return statusCodes[this.status];
  }
}

/** The peer gave no status: the connection could not be made, or it broke. */
export class PeerError extends GrpcError {
  override readonly name = 'PeerError';
  /** Whether it is sure that no handler of the peer saw the call: another peer may be asked. */
  readonly neverTaken: boolean;

  constructor(message: string, options: { neverTaken: boolean; cause?: unknown }) {
    super('UNAVAILABLE', message, { cause: options.cause });
    this.neverTaken = options.neverTaken;
  }
}
