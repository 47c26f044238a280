/** What requests and answers may take of the memory, all together. */
export interface ByteBudget {
  /** False: there is not as much left, and nothing was taken. */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

export function createByteBudget(maxBytes: number): ByteBudget & { readonly held: number } {
  let held = 0;
  return {
    get held() {
      return held;
    },
    take(bytes) {
      if (held + bytes > maxBytes) return false;
      held += bytes;
      return true;
    },
    give: (bytes) => (held -= bytes),
  };
}

export interface ZeroRpcLimits {
  /** Of one message, either way. Who sends a larger one is disconnected. */
  maxFrameBytes: number;
  /** What messages of those who were let in may take of the budget that are not there whole. */
  maxPartBytes: number;
  /** How deep lists and maps may stand in each other, either way. */
  maxDepth: number;
  /** How many values a request may have. Each takes its time, and many times the byte that it may come in. */
  maxValues: number;
  /** Calls at a time: in all, and of one client. */
  maxCalls: number;
  maxCallsPerPeer: number;
  /** What the requests of one client may take of the budget. The first is taken whatever it takes. */
  maxRequestBytesPerPeer: number;
  /** What may wait for one client that reads slowly. Beyond it, the client is taken for lost. */
  maxQueuedBytesPerPeer: number;
  maxQueuedMessagesPerPeer: number;
}

export const defaultLimits: ZeroRpcLimits = {
  maxFrameBytes: 64 * 1024 ** 2,
  maxPartBytes: 1024 ** 3,
  maxDepth: 64,
  maxValues: 1_000_000,
  maxCalls: 4_096,
  maxCallsPerPeer: 256,
  maxRequestBytesPerPeer: 256 * 1024 ** 2,
  maxQueuedBytesPerPeer: 128 * 1024 ** 2,
  maxQueuedMessagesPerPeer: 4_096,
};
