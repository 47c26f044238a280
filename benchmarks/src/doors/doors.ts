import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { buildImage } from '@inference-server/example-echo/build-image.mjs';
import type { CreatedKey } from '@inference-server/contracts';
import type { ModelRegistration } from '@inference-server/sdk';
import { startClientProcess, type Ask } from '../client-process.js';
import { limitSettings, useEngine } from '../engine.js';
import { replicaAddresses } from '../predict/replica-addresses.js';
import type { Figure, Measurement } from '../report.js';
import { residentMib } from '../resident-memory.js';
import type { Scene } from '../scene.js';
import { startServer, type Server } from '../server.js';
import { hundredths, median } from '../statistics.js';
import type { Door, Doors } from './door-calls.js';

/** A text, given back: every door has a way to say it. */
const contract: NonNullable<ModelRegistration['contract']> = {
  signature_name: 'predict',
  inputs: [{ name: 'x', dtype: 'DT_STRING' }],
  outputs: [{ name: 'x', dtype: 'DT_STRING' }],
};

const throughGateway: Door[] = [
  ...(['Predict', 'streams', 'Invoke', 'Open Inference, gRPC'] as const),
  ...(['Open Inference, HTTP', 'ZeroRPC'] as const),
];

/**
 * What each door adds to a call of 1 KB, beside the same text straight to the same container; then what open
 * streams take of the gateway's memory, idle ones and busy ones.
 */
export async function measureDoors(scene: Scene, quick: boolean): Promise<Measurement> {
  const settings = {
    calls: quick ? 100 : 1_000,
    /** Of each door, before: a server that has just started is slower. */
    warmUp: quick ? 200 : 4_000,
    rounds: quick ? 2 : 5,
    idleStreams: quick ? 100 : 1_000,
    busyStreams: quick ? 10 : 100,
    messages: quick ? 100 : 1_000,
    messageBytes: 10_000,
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
      ...{ human_readable_id: 'echo', container_tag: image, kind: 'runtime', contract },
      ...{ max_replicas: 1, target_in_flight: 64, memory_mib: 1_024 },
    },
    { signal: scene.signal },
  );
  const ask = await startClientProcess(scene, new URL('door-process.js', import.meta.url));
  const doors: Doors = {
    container: '',
    grpc: server.grpcAddress,
    publicApi: server.publicApiUrl,
    zerorpc: server.zerorpcAddress,
    key: await makeKey(server, scene.signal),
  };
  await ask({ kind: 'open', doors });
  await ask({ kind: 'latency', door: 'Predict', bytes: 1, calls: 1 });
  const [container = ''] = await replicaAddresses(engine, scene.signal);
  await ask({ kind: 'open', doors: { ...doors, container } });

  const pid = server.processes.find(({ name }) => name === 'rpc-gateway')?.pid ?? 0;
  // First: what earlier calls have left would go meanwhile.
  const idle = await measureIdle(ask, pid, settings.idleStreams);
  const latency = await measureLatency(ask, settings);
  const rows = await measureRows(server.databaseUrl, settings);
  const busy = await measureBusy(ask, pid, settings);
  return {
    name: 'doors',
    settings,
    figures: [...latency.figures, rows, ...idle, ...busy.figures],
    samples: { ...latency.samples, ...busy.samples },
  };
}

interface Part {
  figures: Figure[];
  samples: Record<string, readonly number[]>;
}

async function measureLatency(
  ask: Ask,
  { calls, warmUp, rounds }: { calls: number; warmUp: number; rounds: number },
): Promise<Part> {
  const taken: Record<string, number[]> = {};
  for (const door of throughGateway) {
    await ask({ kind: 'latency', door, bytes: 1_024, calls: warmUp });
  }
  for (let round = 0; round < rounds; round += 1) {
    // The direct calls stand before each door's: they share the moment.
    for (const door of throughGateway) {
      for (const [name, way] of [
        [`direct, before ${door}`, 'direct'],
        [door, door],
      ] as const) {
        const times = await ask<number[]>({ kind: 'latency', door: way, bytes: 1_024, calls });
        (taken[name] ??= []).push(...times);
      }
    }
  }
  const direct = throughGateway.flatMap((door) => taken[`direct, before ${door}`] ?? []);
  const figures: Figure[] = [{ what: 'direct: p50', value: median(direct), unit: 'ms' }];
  for (const door of throughGateway) {
    const [ours, bare] = [taken[door] ?? [], taken[`direct, before ${door}`] ?? []];
    const added = median(ours) - median(bare);
    figures.push(
      { what: `${door}: p50`, value: median(ours), unit: 'ms' },
      { what: `${door}: added p50`, value: added, unit: 'ms', goal: { atMost: 1.5 } },
    );
  }
  const zerorpc = taken['ZeroRPC'] ?? [];
  const rate = (zerorpc.length * 1_000) / zerorpc.reduce((sum, time) => sum + time, 0);
  figures.push({
    ...{ what: 'ZeroRPC, one call after another', value: rate, unit: '1/s' },
    goal: { atLeast: 1_000 },
  });
  const samples = Object.entries(taken).map(([name, times]) => [
    `latency ${name}`,
    hundredths(times),
  ]);
  return { figures, samples: Object.fromEntries(samples) as Part['samples'] };
}

/** What `Invoke` waits for at least: the database alone, asked by a client beside it. */
async function measureRows(
  databaseUrl: string,
  { calls, rounds }: { calls: number; rounds: number },
): Promise<Figure> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    await client.query('CREATE TABLE durable (id int PRIMARY KEY, content bytea)');
    const times: number[] = [];
    for (let call = 0; call < calls * rounds; call += 1) {
      const began = performance.now();
      await client.query(
        `INSERT INTO durable VALUES (7, $1) ON CONFLICT (id) DO UPDATE SET content = excluded.content`,
        [Buffer.alloc(1_024)],
      );
      times.push(performance.now() - began);
    }
    return { what: 'a durable row of the database alone: p50', value: median(times), unit: 'ms' };
  } finally {
    await client.end();
  }
}

/** How long after calls a process is at rest (s). */
const restS = 20;

async function measureIdle(ask: Ask, pid: number, streams: number): Promise<Figure[]> {
  await sleep(restS * 1_000);
  const before = residentMib(pid);
  await ask({ kind: 'idle', streams });
  await sleep(restS * 1_000);
  const each = ((residentMib(pid) - before) * 1_024) / streams;
  return [
    { what: `each of ${streams} idle streams`, value: each, unit: 'KiB', goal: { atMost: 100 } },
  ];
}

/** Resident memory while streams are busy; what of it comes late would go on to grow. */
async function measureBusy(
  ask: Ask,
  pid: number,
  load: { busyStreams: number; messages: number; messageBytes: number },
): Promise<Part> {
  const { busyStreams: streams, messages, messageBytes: bytes } = load;
  const before = residentMib(pid);
  const seen: number[] = [];
  const timer = setInterval(() => seen.push(residentMib(pid)), 100);
  const took = await ask<number>({ kind: 'busy', streams, messages, bytes });
  clearInterval(timer);
  const half = Math.floor(seen.length / 2);
  const [early, late] = [Math.max(...seen.slice(0, half)), Math.max(...seen.slice(half))];
  const name = `${streams} streams of ${messages} messages of ${bytes / 1_000} KB`;
  const rate = (streams * messages * 1_000) / took;
  return {
    figures: [
      { what: `${name}, in order`, value: rate, unit: '1/s' },
      { what: 'memory before', value: before, unit: 'MiB' },
      { what: 'at the peak of the first half', value: early, unit: 'MiB' },
      {
        ...{ what: 'of the second half', value: late, unit: 'MiB' },
        goal: { atMost: early + 16 },
      },
    ],
    samples: { 'memory busy': seen.filter((_, index) => index % 10 === 0) },
  };
}

async function makeKey(server: Server, signal: AbortSignal): Promise<string> {
  const answer = await fetch(`${server.privateApiUrl}/api/admin/keys/`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${server.operatorToken}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ name: 'benchmark', role: 'submit' }),
    signal,
  });
  if (!answer.ok) throw new Error(`A key is refused: ${answer.status}`);
  return ((await answer.json()) as CreatedKey).key;
}
