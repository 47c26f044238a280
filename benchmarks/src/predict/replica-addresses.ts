import type { BenchEngine } from '../engine.js';

/** Where the running replicas of the benchmark's consumer answer (host:port). */
export async function replicaAddresses(
  { engine, consumerId }: BenchEngine,
  signal: AbortSignal,
): Promise<string[]> {
  const labels = { 'inference-server.consumer': consumerId };
  const containers = await engine.listContainers(labels, signal);
  const details = await Promise.all(
    containers.map(({ id }) => engine.inspectContainer(id, signal)),
  );
  return details
    .flatMap((container) => Object.values(container?.addresses ?? {}))
    .map((host) => `${host}:9090`);
}
