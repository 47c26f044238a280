import { setTimeout as sleep } from 'node:timers/promises';
import { replicaContainer } from '@inference-server/container-engine';
import { containerLimits, type BenchEngine } from '../engine.js';
import type { Figure } from '../report.js';
import type { Scene } from '../scene.js';
import type { Server } from '../server.js';
import { median } from '../statistics.js';
import { echoContract } from './echo-contract.js';
import type { LoadClient } from './load-client.js';
import { replicaAddresses } from './replica-addresses.js';

export interface Surroundings {
  scene: Scene;
  engine: BenchEngine;
  server: Server;
  client: LoadClient;
  image: string;
}

/** The model that no call keeps warm. */
const model = 'echo-cold';
const timeoutMs = 60_000;

/**
 * The first call of a model without a replica, until its answer: beside the container's own start, from its
 * creation to its first answer, in turns.
 */
export async function measureStarts(
  given: Surroundings,
  rounds: number,
): Promise<{ figures: Figure[]; samples: Record<string, readonly number[]> }> {
  const { server, client, image, scene } = given;
  await server.operator.postModel(
    {
      ...{ human_readable_id: model, container_tag: image, kind: 'runtime' },
      contract: echoContract,
      ...{ max_replicas: 1, idle_timeout_s: 1, memory_mib: 1_024 },
    },
    { signal: scene.signal },
  );
  const times = { ours: [] as number[], bare: [] as number[] };
  // The first of each brings files of the image into memory.
  for (let round = 0; round <= rounds; round += 1) {
    await untilCold(given);
    const bare = await bareStart(given, round);
    const ours = await client.firstAnswer({ address: server.grpcAddress, model, timeoutMs });
    if (round === 0) continue;
    times.bare.push(bare);
    times.ours.push(ours);
  }
  const [ours, bare] = [median(times.ours), median(times.bare)];
  return {
    figures: [
      { what: 'the first call of a model without a replica', value: ours, unit: 'ms' },
      { what: 'the container’s own start', value: bare, unit: 'ms' },
      { what: 'first call / own start', value: ours / bare, unit: '×', goal: { atMost: 1.3 } },
    ],
    samples: { 'first calls': times.ours, 'own starts': times.bare },
  };
}

/** Until the other model's replica is the only one. */
async function untilCold({ engine, scene: { signal } }: Surroundings): Promise<void> {
  const until = performance.now() + timeoutMs;
  while ((await replicaAddresses(engine, signal)).length > 1) {
    if (performance.now() > until) throw new Error('An idle replica stays.');
    await sleep(100, undefined, { signal });
  }
}

/**
 * A container of the same image, limits and /model, in a network of its own as well, by the engine's calls
 * alone.
 */
async function bareStart(
  { engine: bench, client, image, scene: { signal } }: Surroundings,
  round: number,
): Promise<number> {
  const name = `bare-start-${round}`;
  const { engine, ownLabels: labels } = bench;
  const volume = await modelVolume(bench, signal);
  const began = performance.now();
  await engine.createNetwork({ name, labels, subnet: '10.214.0.0/28' }, signal);
  try {
    await engine.createContainer(
      replicaContainer({
        ...{ name, image, labels, network: name, port, model: volume },
        ...{ limits: containerLimits, gpus: [] },
      }),
      signal,
    );
    await engine.startContainer(name, signal);
    const host = (await engine.inspectContainer(name, signal))?.addresses[name] ?? '';
    await client.firstAnswer({ address: `${host}:${port}`, model, timeoutMs });
    return performance.now() - began;
  } finally {
    await engine.removeContainer(name, signal);
    await engine.removeNetwork(name, signal);
  }
}

/** With the contract of the model that is warm, which the server has filled it with. */
async function modelVolume(
  { engine, consumerId }: BenchEngine,
  signal: AbortSignal,
): Promise<string> {
  const [warm] = await engine.listContainers({ 'inference-server.consumer': consumerId }, signal);
  const installation = warm?.labels['inference-server.installation'] ?? '';
  const [marker] = await engine.listVolumes(
    { 'inference-server.installation': installation, 'inference-server.kind': 'model' },
    signal,
  );
  const volume = marker?.labels['inference-server.volume'];
  if (volume === undefined) throw new Error('The server keeps no volume with a contract.');
  return volume;
}

const port = 9090;
