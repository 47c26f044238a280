// The examples are plain JavaScript; this is what the benchmarks use of them.
declare module '@inference-server/example-echo/build-image.mjs' {
  export function buildImage(given: { dockerHost: string; signal: AbortSignal }): Promise<string>;
}
declare module '@inference-server/example-copy/build-image.mjs' {
  export function buildImage(given: { dockerHost: string; signal: AbortSignal }): Promise<string>;
}
