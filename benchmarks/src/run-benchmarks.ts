import { resolve } from 'node:path';
import { measureDoors } from './doors/doors.js';
import { measureGate } from './gate/gate.js';
import { measureLifecycle } from './lifecycle/lifecycle.js';
import { describeMachine } from '@inference-server/testing';
import type { BenchmarkName, Options } from './options.js';
import { measurePolls } from './polls/polls.js';
import { measurePredict } from './predict/predict.js';
import { writeReport, type Measurement, type Report } from './report.js';
import { inScene, type Scene } from './scene.js';
import { tableOf } from './table.js';
import { measureTransfer } from './transfer/transfer.js';

export interface Surroundings {
  environment: NodeJS.ProcessEnv;
  now: Date;
  /** Aborted when everything shall stop. */
  signal: AbortSignal;
  print: (text: string) => void;
}

type Benchmark = (scene: Scene, quick: boolean) => Promise<Measurement>;

const benchmarks: Record<BenchmarkName, Benchmark> = {
  lifecycle: measureLifecycle,
  transfer: measureTransfer,
  polls: measurePolls,
  gate: measureGate,
  predict: measurePredict,
  doors: measureDoors,
};

/**
 * Runs the benchmarks one after another, each on a server of its own, prints a table of each and
 * writes all of it as JSON below benchmarks/results. Throws when something broke, never because
 * something was slow.
 */
export async function runBenchmarks(options: Options, given: Surroundings): Promise<void> {
  const { environment, now, signal, print } = given;
  const { quick, only } = options;
  const profileFolder =
    options.profileFolder === undefined ? undefined : resolve(options.profileFolder);
  const report: Report = {
    date: now.toISOString(),
    quick,
    machine: await describeMachine(environment, signal),
    measurements: [],
  };
  for (const name of only) {
    print(`\n${name}: running …`);
    const measurement = await inScene(
      { name, environment, signal, profileFolder, print },
      (scene) => benchmarks[name](scene, quick),
    );
    report.measurements.push(measurement);
    print(tableOf(measurement));
  }
  print(`\n${await writeReport(report, options)}`);
}
