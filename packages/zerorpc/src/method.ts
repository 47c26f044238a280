/** A client's connection, from its handshake to its end: what was proved on it can be kept by it in a WeakMap. */
export interface Connection {
  /** No other has it, nor had it. */
  readonly id: string;
  /** Of the other end, as text. */
  readonly address: string;
  /** To be set when somebody who may call was let in on it: what a stranger sends has less room. */
  isTrusted: boolean;
}

export interface ZeroRpcCall {
  connection: Connection;
  /** Whether it came through a proxy of ZeroMQ: others may call on its connection, too. */
  isRelayed: boolean;
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
