import type { MessageSink } from '../framing.js';
import type { GrpcError } from '../grpc-error.js';
import type { Metadata } from '../metadata.js';

/** What is known of a call before its first message. */
export interface CallHead {
  path: string;
  metadata: Metadata;
  /** Of the server, as the caller addresses it. */
  authority: string;
  peerAddress: string;
  /** When the caller waits no longer (performance.now()); undefined: it said nothing. */
  deadlineAt: number | undefined;
  /** Aborts with a GrpcError when the caller is gone, its time is over, the server ends, or by `cut`. */
  signal: AbortSignal;
  /** Ends the call with this, whatever it is at: also while its message comes. */
  cut(error: GrpcError): void;
}

/**
 * Says what takes a call. No byte of a message is read before that: who may not call is refused by a throw.
 */
export type Method = (head: CallHead) => Handler | Promise<Handler>;

export type Handler = ({ unary: UnaryHandler } | { stream: StreamHandler; opening?: Opening }) & {
  /**
   * Whether anybody at all may call: its messages are small then, and take nothing of what the others share,
   * and its streams are few.
   */
  isOpen?: boolean;
  /** Called once, when the call is over, however it ends. */
  end?: () => void;
};

/** Of a stream whose first message says who calls: until it lets them in they are a stranger to the server. */
export interface Opening {
  maxBytes: number;
  /** What the caller of a larger one is told. */
  tooLarge(): GrpcError;
}

/**
 * Takes the one message and gives the answer. A large one may be begun with `open` and written as it comes;
 * null is answered then. Throws a GrpcError for another status than OK.
 */
export type UnaryHandler = (message: Buffer, room: AnswerRoom) => Promise<UnaryAnswer>;

export interface AnswerRoom {
  /**
   * Counts what an answer takes of the memory, until its caller has it or is gone: who takes it slowly holds it.
   * False: there is not as much left, and nothing was counted.
   */
  hold(bytes: number): boolean;
  open(messageBytes: number): MessageSink;
}

export interface UnaryAnswer {
  /** Goes out in this order, as one message. */
  message: readonly Buffer[] | null;
  trailers?: Metadata;
}

/**
 * Messages come as they are asked for; `write` waits for a caller that takes them slowly. `letIn` is for a stream
 * with an opening, once it is known who calls.
 */
export type StreamHandler = (
  messages: AsyncIterable<Buffer>,
  write: (message: readonly Buffer[]) => Promise<void>,
  letIn: () => void,
) => Promise<{ trailers?: Metadata }>;
