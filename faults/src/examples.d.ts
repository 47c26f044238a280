// The examples and the scripts are plain JavaScript; this is what the fault suite uses of them.
declare module '@inference-server/example-image-import' {
  type Entry = object;
  export function file(path: string, content: string | Buffer): Entry;
  export function busyboxRootfs(given: { signal: AbortSignal }): Promise<Entry[]>;
  export function buildFromFiles(given: {
    tag: string;
    entries: readonly Entry[];
    changes: readonly string[];
    dockerHost: string;
    signal: AbortSignal;
  }): Promise<string>;
}
declare module '*/scripts/libfaketime.mjs' {
  export function libfaketime(): string;
}
