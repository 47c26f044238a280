/**
 * One client's connection: the same object for as long as the server knows the client, so that what it has proved
 * can be kept by it in a WeakMap. ZeroMQ tells neither the client's address nor that it has gone.
 */
export interface Connection {
  /** What ZeroMQ calls it, in hexadecimal digits. */
  readonly id: string;
  /**
   * Whether the client chose the id itself. Another may come under the same one when it has gone, unnoticed: what is
   * proved on such a connection holds for the one call only. The ids that ZeroMQ makes are random, and never come twice.
   */
  readonly isChosenId: boolean;
}

export interface ZeroRpcCall {
  connection: Connection;
  /** What came beside the method's name: the entries of the header that the protocol does not use itself. */
  headers: ReadonlyMap<string, unknown>;
  /** Of the client's protocol: 1, 2, 3. */
  version: number;
  /** Aborts with a ZeroRpcError when the client is lost, the time is over, or the server ends. */
  signal: AbortSignal;
  /** When the time is over (performance.now()); `signal` may abort up to a twentieth of a heartbeat later. */
  deadlineAt: number;
  /** Takes of the budget what the method needs beside the request, until the call is over. False: it is not there. */
  take(bytes: number): boolean;
}

export interface Parameter {
  name: string;
  /** A parameter with one may be left out; those after it have one too. */
  default?: unknown;
}

export interface ZeroRpcMethod {
  /** What clients show of it. */
  doc: string;
  /** null: anything may come. Else calls with too few or too many arguments are refused. */
  parameters: readonly Parameter[] | null;
  /**
   * Answers a value, or an async iterable whose items are streamed as the client asks for them. Throws a
   * ZeroRpcError to be told to the client. Values are what MessagePack has: null, booleans, numbers, bigints
   * (64 bits), strings, Uint8Arrays, lists and plain objects; what comes has bigints for what came in 64 bits.
   */
  call(args: readonly unknown[], call: ZeroRpcCall): unknown;
}

/** The methods that there are at the moment: asked for every call, so that they may differ from client to client. */
export interface MethodTable {
  /** Throws a ZeroRpcError where there is more to say than that there is none. */
  find(name: string, call: ZeroRpcCall): Promise<ZeroRpcMethod | undefined>;
  /** What introspection tells of; it leaves out names that begin with _. */
  list(call: ZeroRpcCall): Promise<Iterable<readonly [name: string, method: ZeroRpcMethod]>>;
}
