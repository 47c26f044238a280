// The examples are plain JavaScript; this is what the demo uses of them.
declare module '@inference-server/example-copy/build-image.mjs' {
  export function buildImage(given: { dockerHost: string; signal: AbortSignal }): Promise<string>;
}
declare module '@inference-server/example-iris/build-image.mjs' {
  export function buildImage(given: { dockerHost: string; signal: AbortSignal }): Promise<string>;
}
declare module '@inference-server/example-iris/demo.mjs' {
  export const contract: string;
  export const inputs: Record<string, unknown>;
  export function modelZip(): Buffer;
}
declare module '@inference-server/example-threshold-volume/build-image.mjs' {
  export function buildImage(given: { dockerHost: string; signal: AbortSignal }): Promise<string>;
}
declare module '@inference-server/example-threshold-volume/demo.mjs' {
  export function modelZip(): Buffer;
  export function taskZip(): Buffer;
  export function describeResult(zip: Buffer): string;
}
