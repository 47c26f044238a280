import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { zipToTar } from '@inference-server/archive';
import type { Client } from '@inference-server/sdk';
import { containerLimits, limitSettings, useEngine } from '../engine.js';
import type { Figure, Measurement } from '../report.js';
import type { Scene } from '../scene.js';
import { startServer } from '../server.js';
import { median, quantile } from '../statistics.js';
import { writeStoredZip } from '../large-zip.js';
import { runBareLifecycle } from './bare-lifecycle.js';
import { openTimelines } from './timeline.js';

/**
 * The time from a post to the bytes of its result, one task after another, beside the engine's part
 * of it alone: the same container with the same volumes, made by the same calls. Bare runs and tasks
 * take turns, and each begins when the other has left nothing in the engine.
 */
export async function measureLifecycle(scene: Scene, quick: boolean): Promise<Measurement> {
  const { folder, signal } = scene;
  const bench = await useEngine(scene);
  const settings = {
    rounds: quick ? 5 : 40,
    warmUps: quick ? 1 : 5,
    inputBytes: 64 * 1024,
    engine: bench.version,
  };
  const { engine, image, consumerId, ownLabels, untilTidy } = bench;
  const server = await startServer(scene, {
    id: consumerId,
    settings: {
      ...limitSettings,
      DOCKER_HOST: bench.dockerHost,
      CPU_SLOTS: '1',
    },
  });
  const timelines = await openTimelines(scene, server.databaseUrl, bench.dockerHost);
  await server.operator.postModel({ human_readable_id: 'copy', container_tag: image }, { signal });
  const zipPath = join(folder, 'input.zip');
  await writeStoredZip(zipPath, { bytes: settings.inputBytes, signal });
  const zip = await readFile(zipPath);
  const tar = await buffer(zipToTar(zipPath, { signal }));

  const samples = new Samples();
  for (let round = -settings.warmUps; round < settings.rounds; round += 1) {
    const name = `${consumerId}-bare-${round}`;
    const bare = await runBareLifecycle(
      engine,
      { name, image, tar, labels: ownLabels, limits: containerLimits },
      signal,
    );
    const task = await runTask(server.caller, zip, signal);
    await untilTidy();
    const timeline = await timelines.of(task.uid, task);
    await server.caller.deleteTask(task.uid, { signal });
    if (round < 0) continue;
    samples.add({ bare: sumOf(bare), task: task.endedAt - task.beganAt });
    samples.add(withPrefix('bare, ', bare));
    samples.add(withPrefix('task, ', timeline));
  }
  return { name: 'lifecycle', settings, figures: figuresOf(samples), samples: samples.all() };
}

/** By the wall clock (ms), which the database and the engine on this machine share. */
async function runTask(
  caller: Client,
  zip: Buffer,
  signal: AbortSignal,
): Promise<{ uid: string; beganAt: number; endedAt: number }> {
  const beganAt = wallClockMs();
  const uid = await caller.postTask({ human_readable_id: 'copy', zip }, { signal });
  const result = await caller.waitForTask(uid, { signal });
  const output = await buffer(result.zip);
  const endedAt = wallClockMs();
  if (output.length < zip.length) throw new Error(`The output has ${output.length} bytes`);
  return { uid, beganAt, endedAt };
}

function wallClockMs(): number {
  return performance.timeOrigin + performance.now();
}

/** The samples of each series, in the order in which the series first came. */
class Samples {
  readonly #series = new Map<string, number[]>();

  add(values: Record<string, number>): void {
    for (const [name, value] of Object.entries(values)) {
      this.of(name).push(value);
    }
  }

  of(name: string): number[] {
    const series = this.#series.get(name) ?? [];
    this.#series.set(name, series);
    return series;
  }

  all(): Record<string, readonly number[]> {
    return Object.fromEntries(this.#series);
  }
}

function figuresOf(samples: Samples): Figure[] {
  const { bare = [], task = [], ...parts } = samples.all();
  const ms = (what: string, value: number): Figure => ({ what, value, unit: 'ms' });
  // What the engine does after the output was read; a client does not wait for it.
  const removal = median(samples.of('bare, removing'));
  return [
    ms('task: median', median(task)),
    ms('task: 90th percentile', quantile(task, 0.9)),
    ms('bare engine: median', median(bare)),
    ms('bare engine: 90th percentile', quantile(bare, 0.9)),
    {
      what: 'task / bare engine',
      value: median(task) / median(bare),
      unit: '×',
      goal: { atMost: 1.35 },
    },
    {
      what: 'task / bare engine without its removals',
      value: median(task) / (median(bare) - removal),
      unit: '×',
    },
    ...Object.entries(parts).map(([name, values]) => ms(`  ${name}`, median(values))),
  ];
}

function withPrefix(prefix: string, values: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [`${prefix}${name}`, value]),
  );
}

function sumOf(values: Record<string, number>): number {
  return Object.values(values).reduce((sum, value) => sum + value, 0);
}
