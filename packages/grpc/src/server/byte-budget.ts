/** What messages may take of the memory, all together. */
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
