// The examples and the scripts are plain JavaScript; this is what the fault suite and the tests use of them.
declare module '@inference-server/example-image-import' {
  type Entry = { path: string };
  export function directory(path: string, mode?: number): Entry;
  export function link(path: string, target: string): Entry;
  export function localFile(path: string, source: string, mode?: number): Entry;
  export function file(path: string, content: string | Buffer): Entry;
  export function nodeRootfs(given: { signal: AbortSignal }): Promise<Entry[]>;
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
