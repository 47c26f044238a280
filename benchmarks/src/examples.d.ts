// The example is plain JavaScript; this is what the benchmarks use of it.
declare module '@inference-server/example-copy/build-image.mjs' {
  export function buildImage(given: { dockerHost: string; signal: AbortSignal }): Promise<string>;
}
