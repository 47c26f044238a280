import type { Model } from '@inference-server/example-runtime-server';

/** The tensors as they came, whatever is in them and in whichever representation. */
export async function createEchoModel(): Promise<Model> {
  return (inputs) => new Map([...inputs].map(([name, tensor]) => [name, tensor.bytes]));
}
