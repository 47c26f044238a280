import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { findFreePort } from '@inference-server/local-services';
import { limitSettings, useEngine } from '../engine.js';
import type { Figure, Measurement } from '../report.js';
import type { Scene } from '../scene.js';
import { startServer } from '../server.js';
import { median } from '../statistics.js';
import { writeStoredZip } from '../large-zip.js';
import { sampleMemory, type MemorySampler, type Phase } from './memory-sampler.js';
import { openTransferClient, type TransferClient, type Way } from './transfer-client.js';

const mib = 1024 ** 2;
const maxGrowthMib = 120;

/**
 * A large input that no packer makes smaller, through both APIs into and out of a container: how
 * much memory our processes need for it beyond what they need at rest, and how fast it comes in,
 * beside one bare server that writes the same body to the same disk. The ways in take turns.
 */
export async function measureTransfer(scene: Scene, quick: boolean): Promise<Measurement> {
  const { folder, signal } = scene;
  const bench = await useEngine(scene);
  const settings = { inputMib: quick ? 128 : 1024, rounds: quick ? 1 : 3, engine: bench.version };
  const server = await startServer(scene, {
    id: bench.consumerId,
    settings: {
      ...limitSettings,
      DOCKER_HOST: bench.dockerHost,
      CPU_SLOTS: '1',
    },
  });
  const model = { human_readable_id: 'copy', container_tag: bench.image };
  await server.operator.postModel(model, { signal });
  const small = await zipIn(folder, 'small.zip', mib, signal);
  const large = await zipIn(folder, 'large.zip', settings.inputMib * mib, signal);
  const { size } = await stat(large);
  const singleHop = await startSingleHop(scene);
  const client = openTransferClient(scene);

  const samples: Record<Series, number[]> = {
    'single hop': [],
    'bare zip': [],
    form: [],
    'into the container and out': [],
    download: [],
  };
  const memory = sampleMemory(server.processes);
  scene.onEnd(async () => memory.stop());
  const taskUrl = `${server.publicApiUrl}/api/tasks/`;
  const task = { ...bench, client, taskUrl, scene };

  // Before the small task too: afterwards a process may keep for minutes what it has no more use for.
  const wasSettled = await memory.untilSettled(signal);
  await runTask(task, { zipPath: small, way: 'form', enter: () => undefined });
  if (!(await memory.untilSettled(signal)) || !wasSettled) {
    scene.print('transfer: memory still fell after a minute, what is at rest may be less');
  }
  for (let round = 0; round < settings.rounds; round += 1) {
    await flushDisk(scene);
    const hop = await client.upload(singleHop, large, 'bare zip');
    samples['single hop'].push(size / mib / hop.seconds);
    for (const way of ['bare zip', 'form'] as const) {
      await flushDisk(scene);
      const enter = (phase: Phase) => memory.enter(way, phase);
      const times = await runTask(task, { zipPath: large, way, enter });
      samples[way].push(size / mib / times.uploadS);
      samples['into the container and out'].push(times.runS * 1000);
      samples.download.push(times.downloadedBytes / mib / times.downloadS);
    }
  }
  memory.stop();
  return { name: 'transfer', settings, figures: figuresOf(samples, memory), samples };
}

type Series = 'single hop' | 'bare zip' | 'form' | 'into the container and out' | 'download';

interface TaskRunner {
  client: TransferClient;
  taskUrl: string;
  scene: Scene;
  untilTidy: () => Promise<void>;
}

/** One task from its post to its end; what it leaves is removed. */
async function runTask(
  { client, taskUrl, scene, untilTidy }: TaskRunner,
  { zipPath, way, enter }: { zipPath: string; way: Way; enter: (phase: Phase) => void },
) {
  scene.signal.throwIfAborted();
  enter('upload');
  const posted = await client.upload(`${taskUrl}?human_readable_id=copy`, zipPath, way);
  const url = `${taskUrl}${String(JSON.parse(posted.answer))}`;
  enter('run');
  const began = performance.now();
  // The last answer carries the output: its headers end the run.
  const result = await client.download(`${url}?wait=60`, () => enter('download'));
  await untilTidy();
  enter('between');
  await client.remove(url);
  if (result.bytes < (await stat(zipPath)).size - 64 * 1024) {
    throw new Error(`The output has ${result.bytes} bytes`);
  }
  return {
    uploadS: posted.seconds,
    runS: (result.beganAt - began) / 1000,
    downloadS: result.seconds,
    downloadedBytes: result.bytes,
  };
}

function figuresOf(samples: Record<Series, number[]>, memory: MemorySampler): Figure[] {
  const rate = (what: string, series: Series): Figure => ({
    what,
    value: median(samples[series]),
    unit: 'MiB/s',
  });
  const slower = (series: Series): Figure => ({
    what: `single hop / ${series}`,
    value: median(samples['single hop']) / median(samples[series]),
    unit: '×',
  });
  return [
    ...memory.memories().flatMap(({ name, restMib, peaks }): Figure[] => [
      { what: `${name}: memory at rest`, value: restMib, unit: 'MiB' },
      ...[...peaks].map(([way, { mib: peakMib, phase }]): Figure => ({
        what: `${name}: most above that, ${way} (${phase})`,
        value: peakMib - restMib,
        unit: 'MiB',
        goal: { atMost: maxGrowthMib },
      })),
    ]),
    rate('upload to the single-hop server', 'single hop'),
    rate('upload through both APIs, bare zip', 'bare zip'),
    rate('upload through both APIs, form', 'form'),
    slower('bare zip'),
    slower('form'),
    {
      what: 'into the container and out, to the first byte',
      value: median(samples['into the container and out']),
      unit: 'ms',
    },
    rate('download through both APIs', 'download'),
  ];
}

async function zipIn(
  folder: string,
  name: string,
  bytes: number,
  signal: AbortSignal,
): Promise<string> {
  const path = join(folder, name);
  await writeStoredZip(path, { bytes, signal });
  return path;
}

/** What is still to be written would slow down whoever comes next. */
async function flushDisk({ environment, signal }: Scene): Promise<void> {
  await promisify(execFile)('sync', { env: environment, signal, timeout: 300_000 });
}

async function startSingleHop(scene: Scene): Promise<string> {
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}/`;
  const file = fileURLToPath(new URL('single-hop-server.js', import.meta.url));
  const answers = async () =>
    fetch(url, { signal: AbortSignal.timeout(2_000) }).then(
      ({ status }) => status === 405,
      () => false,
    );
  const settings = { FOLDER: scene.folder, PORT: String(port) };
  await scene.start({ name: 'single-hop-server', args: [file], settings }, answers);
  return url;
}
