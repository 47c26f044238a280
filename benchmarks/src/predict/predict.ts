import { setTimeout as sleep } from 'node:timers/promises';
import { buildImage } from '@inference-server/example-echo/build-image.mjs';
import { limitSettings, useEngine } from '../engine.js';
import type { Figure, Measurement } from '../report.js';
import { residentMib } from '../resident-memory.js';
import type { Scene } from '../scene.js';
import { startServer, type Server } from '../server.js';
import { hundredths, median, quantile } from '../statistics.js';
import { startBareRelay } from './bare-relay.js';
import { echoContract } from './echo-contract.js';
import { createLoadClient, type LoadClient, type Target } from './load-client.js';
import { replicaAddresses } from './replica-addresses.js';
import { measureStarts } from './starts.js';

/**
 * What the gateway adds to a call of a runtime model, which gives back what it gets: beside the same calls
 * straight to the same container, in turns. Then its memory with a large tensor, and the first call of a model
 * that has no replica beside the start of its container.
 */
export async function measurePredict(scene: Scene, quick: boolean): Promise<Measurement> {
  const settings = {
    calls: quick ? 200 : 2_000,
    rounds: quick ? 2 : 5,
    concurrency: 64,
    seconds: quick ? 1 : 5,
    largeMib: 64,
    starts: quick ? 2 : 5,
  };
  const engine = await useEngine(scene);
  const image = await buildImage({ dockerHost: engine.dockerHost, signal: scene.signal });
  const server = await startServer(
    scene,
    { id: engine.consumerId, settings: { ...limitSettings, DOCKER_HOST: engine.dockerHost } },
    { gateway: true },
  );
  await server.operator.postModel(
    {
      ...{ human_readable_id: 'echo', container_tag: image, kind: 'runtime' },
      contract: echoContract,
      // One replica takes all of the load: the container is the same on both ways.
      ...{ max_replicas: 1, target_in_flight: settings.concurrency, memory_mib: 1_024 },
    },
    { signal: scene.signal },
  );
  const client = await createLoadClient(scene);
  const through = { address: server.grpcAddress, model: 'echo' };
  await client.latency({ ...through, bytes: 1_024, calls: 200 });
  const [address = ''] = await replicaAddresses(engine, scene.signal);
  const direct = { address, model: 'echo' };
  const relayed = { address: await startBareRelay(scene, address), model: 'echo' };
  for (const way of [direct, relayed]) await client.latency({ ...way, bytes: 1_024, calls: 200 });

  const latency = await measureLatency(client, { through, direct, relayed }, settings);
  const throughput = await measureThroughput(client, { through, direct }, settings);
  const memory = await measureMemory(client, { through }, server, settings);
  const starts = await measureStarts({ scene, engine, server, client, image }, settings.starts);
  return {
    name: 'predict',
    settings,
    figures: [...latency.figures, ...throughput.figures, ...memory.figures, ...starts.figures],
    samples: { ...latency.samples, ...throughput.samples, ...memory.samples, ...starts.samples },
  };
}

type Ways = Record<'through' | 'direct', Target>;

interface Part {
  figures: Figure[];
  samples: Record<string, readonly number[]>;
}

/**
 * One call after another: what comes on top of the direct ones, at the same share of the calls; beside what a
 * process adds that only passes bytes on.
 */
async function measureLatency(
  client: LoadClient,
  { through, direct, relayed }: Ways & { relayed: Target },
  { calls, rounds }: { calls: number; rounds: number },
): Promise<Part> {
  const taken = { through: [] as number[], direct: [] as number[], relayed: [] as number[] };
  for (let round = 0; round < rounds; round += 1) {
    taken.direct.push(...(await client.latency({ ...direct, bytes: 1_024, calls })));
    taken.through.push(...(await client.latency({ ...through, bytes: 1_024, calls })));
    taken.relayed.push(...(await client.latency({ ...relayed, bytes: 1_024, calls })));
  }
  const figuresAt = (share: number, name: string, atMost: number): Figure[] => {
    const [ours, bare] = [quantile(taken.through, share), quantile(taken.direct, share)];
    const relay = quantile(taken.relayed, share) - bare;
    return [
      { what: `1 KB, through the gateway: ${name}`, value: ours, unit: 'ms' },
      { what: `1 KB, direct: ${name}`, value: bare, unit: 'ms' },
      { what: `added: ${name}`, value: ours - bare, unit: 'ms', goal: { atMost } },
      { what: `added by a bare relay: ${name}`, value: relay, unit: 'ms' },
    ];
  };
  return {
    figures: [...figuresAt(0.5, 'p50', 1), ...figuresAt(0.99, 'p99', 3)],
    samples: Object.fromEntries(
      Object.entries(taken).map(([way, values]) => [`latency ${way}`, hundredths(values)]),
    ),
  };
}

async function measureThroughput(
  client: LoadClient,
  { through, direct }: Ways,
  { rounds, concurrency, seconds }: { rounds: number; concurrency: number; seconds: number },
): Promise<Part> {
  const rates = { through: [] as number[], direct: [] as number[] };
  for (let round = 0; round < rounds; round += 1) {
    const load = { bytes: 1_024, concurrency, seconds };
    rates.direct.push(await client.throughput({ ...direct, ...load }));
    rates.through.push(await client.throughput({ ...through, ...load }));
  }
  const [ours, bare] = [median(rates.through), median(rates.direct)];
  return {
    figures: [
      { what: `${concurrency} at a time, through the gateway`, value: ours, unit: '1/s' },
      { what: `${concurrency} at a time, direct`, value: bare, unit: '1/s' },
      // At least 60 % of the direct rate.
      {
        what: 'direct / through the gateway',
        value: bare / ours,
        unit: '×',
        goal: { atMost: 1.67 },
      },
    ],
    samples: { 'rate through': rates.through, 'rate direct': rates.direct },
  };
}

/** How long after calls a process is at rest (s). */
const restS = 20;

/** The gateway's resident memory, from before the calls until some time after them. */
async function measureMemory(
  client: LoadClient,
  { through }: Pick<Ways, 'through'>,
  { processes }: Server,
  { largeMib, rounds }: { largeMib: number; rounds: number },
): Promise<Part> {
  const pid = processes.find(({ name }) => name === 'rpc-gateway')?.pid ?? 0;
  // What the calls before have left is given back first: it is measured from rest to rest.
  await sleep(restS * 1_000);
  const before = residentMib(pid);
  const seen: number[] = [];
  const timer = setInterval(() => seen.push(residentMib(pid)), 10);
  const times = await client.latency({ ...through, bytes: largeMib * 1024 ** 2, calls: rounds });
  await sleep(1_000);
  clearInterval(timer);
  const after: number[] = [];
  for (let second = 0; second < restS; second += 1) {
    await sleep(1_000);
    after.push(residentMib(pid));
  }
  const peak = Math.max(...seen);
  return {
    figures: [
      { what: `${largeMib} MiB through the gateway: p50`, value: median(times), unit: 'ms' },
      { what: 'its memory before', value: before, unit: 'MiB' },
      { what: 'at the peak', value: peak, unit: 'MiB', goal: { atMost: 4 * largeMib } },
      // Back to what it was at rest: half of one message at most is left.
      {
        what: `${restS} s after`,
        value: after.at(-1) ?? Number.NaN,
        unit: 'MiB',
        goal: { atMost: before + largeMib / 2 },
      },
    ],
    samples: { 'memory after': after },
  };
}
