import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { joinSignals } from '@inference-server/service-kit';
import { describeMachine } from '@inference-server/testing';
import { checkTasks } from '../checks/check-tasks.js';
import {
  acceptedUnflushed,
  acknowledgedUnflushed,
  missingBehind,
  wrongOutputs,
} from '../checks/durable.js';
import { processesOf } from '../checks/engine-processes.js';
import { keepErrorLines } from '../checks/error-lines.js';
import { footprintsAtRest, footprintsOf } from '../checks/footprints.js';
import { harmsOf } from '../checks/harms.js';
import { watchLeases } from '../checks/lease-watch.js';
import { judgeEnds } from '../checks/process-ends.js';
import { countBranches } from '../checks/recovery-branches.js';
import { silentEngines } from '../checks/silent-engines.js';
import { slotOveruse } from '../checks/slot-use.js';
import { findUnasked } from '../checks/unasked.js';
import type { Stroke } from '../faults/schedule.js';
import { strike, type StrokeResult } from '../faults/strike.js';
import { createCallers } from '../load/caller.js';
import { startLoad } from '../load/load.js';
import { makeModels } from '../load/make-models.js';
import { createRandom } from '../random.js';
import { fetchedRetentionS, slotsOf } from '../world/apps.js';
import type { EndedProcess } from '../world/ended-process.js';
import type { ContainerEvent } from '../world/engine-events.js';
import { openWorld, type World } from '../world/world.js';
import { invariantsOf } from './invariants.js';
import { medianAndWorst, rowsOf, tableOf, type Report } from './report.js';
import { endLoad, leftoversAtRest } from './rest.js';

export interface Run {
  /** Everything of the run is below it. */
  folder: string;
  environment: NodeJS.ProcessEnv;
  seed: string;
  /** What the tasks of the load follow from, beside the seed. */
  load: string;
  form: Report['form'];
  /** Whether that is the whole schedule of a soak. */
  isWhole: boolean;
  only: readonly string[];
  schedule: readonly Stroke[];
  /** How long the callers, and then the sweeps, have at the end (s). */
  restS: number;
  print(text: string): void;
  signal: AbortSignal;
}

/**
 * Opens the world, keeps a load on it while one fault of the schedule strikes after the other, and holds
 * what has become of it against what must have.
 */
export async function breakServer(run: Run): Promise<Report> {
  const { folder, environment, print, signal } = run;
  const date = new Date().toISOString();
  const machine = await describeMachine(environment, signal);
  const began = performance.now();
  const containers: ContainerEvent[] = [];
  const ended: EndedProcess[] = [];
  const branches = countBranches();
  const errorLines = keepErrorLines();
  const world = await openWorld(
    folder,
    environment,
    {
      onLine: (name, line) => {
        branches.note(line);
        errorLines.note(name, line);
      },
      onContainer: (event) => containers.push(event),
      onEnd: (end) => ended.push(end),
    },
    signal,
  );
  try {
    await makeModels(world, signal);
    const anew = await footprintsOf(world);
    print(`the server is up, after ${secondsSince(began)} s`);
    const ledger = await harmAll(run, world);
    const { records, strokes, isOver, outputs, withoutLease } = ledger;
    const missing = [...ledger.missing, ...acknowledgedUnflushed(records, strokes)];
    const leftovers = await leftoversAtRest(world, run.restS, signal);
    const processes = await Promise.all(world.engines.map((engine) => processesOf(engine)));
    const emptyShims = processes.flatMap((of) => of.emptyShims);
    const held = await footprintsAtRest(world, anew, signal);
    const excuses = strokes.flatMap((stroke) => stroke.excuses);
    const found = () => checkTasks(world, records, containers, excuses, strokes);
    const tasks = await askUntilAnswered(found, signal);
    tasks.doubled.push(...(await askUntilAnswered(() => findUnasked(world, records), signal)));
    tasks.wrong.push(...outputs.wrong);
    for (const { name } of world.engines) {
      const isHeard = containers.some(({ engine }) => engine === name);
      if (!isHeard) tasks.untold.push(`${name} has told of no container`);
    }
    const counts = await askUntilAnswered(() => branches.counts(world), signal);
    const engines = silentEngines(world.watches);
    await world.endApps();
    const invariants = invariantsOf({
      ...{ tasks, strokes, isOver, missing, withoutLease, leftovers, held, outputs },
      emptyShims,
      overuse: slotOveruse(containers, slotsOf),
      ends: judgeEnds(ended, world.postgres.away),
      errorLines: errorLines.told(replacedOf(ended)),
      engines: { silent: engines, watches: world.watches },
      branches: counts,
      wantsAllBranches: run.isWhole,
    });
    const { byStroke, unmatched } = harmsOf(strokes, records, {
      lost: tasks.lost,
      doubled: [...tasks.doubled, ...tasks.startedTwice],
      leftOver: leftovers,
      wrong: [...tasks.wrong, ...tasks.untold],
      missing,
    });
    const table = tableOf(strokes, byStroke);
    return {
      date,
      seed: run.seed,
      form: run.form,
      only: run.only,
      machine,
      seconds: Math.round((performance.now() - began) / 1000),
      tasks: {
        acknowledged: tasks.acknowledged,
        byEnd: tasks.ends,
        byKind: countBy(records, ({ plan }) => plan.kind),
      },
      invariants,
      recoveryMs: medianAndWorst(strokes),
      branches: counts,
      startedAgain: tasks.startedAgain,
      table,
      rows: rowsOf(table, strokes),
      unmatched,
      strokes,
    };
  } finally {
    await world.close();
  }
}

const answerWithinMs = 300_000;
const postEveryMs = 1_000;
const callersAtOnce = 16;
/** Outputs are looked at before the sweep takes them, which may be after so many strokes and no sooner. */
const strokesBetweenLooks = 10;
/** Numbers of the load's tasks are below: a stroke's own are above. */
const firstOfStrokes = 1_000_000;

/** The load and the strokes; resolves when all callers have their ends, or have waited for too long. */
async function harmAll({ schedule, seed, restS, print, signal: ofRun, ...run }: Run, world: World) {
  const ending = new AbortController();
  const { signal, release } = joinSignals(ofRun, ending.signal);
  // Every caller waits with it.
  setMaxListeners(0, signal);
  const random = createRandom(seed);
  const missing: string[] = [];
  const outputs = { looked: 0, wrong: new Set<string>() };
  const leases = watchLeases(world);
  const callers = createCallers({
    ...world,
    signal,
    async onAcknowledged(uid, record) {
      // The row may be asked for while PostgreSQL is what is broken: then it is asked again.
      const found = await askUntilAnswered(() => missingBehind(world, uid, record), signal);
      if (found !== undefined) missing.push(found);
    },
  });
  const options = { random: random.fork(run.load), pauseMs: postEveryMs, atOnce: callersAtOnce };
  const load = startLoad(callers, options, signal);
  try {
    let next = firstOfStrokes;
    const nextTask = () => next++;
    const strokes: StrokeResult[] = [];
    for (const stroke of schedule) {
      const own = { world, callers, random: random.fork('strokes'), nextTask, signal };
      const result = await strike(stroke, own);
      strokes.push(result);
      missing.push(...(await askUntilAnswered(() => acceptedUnflushed(world, result), signal)));
      print(lineOf(result, schedule.length));
      if (strokes.length % strokesBetweenLooks === 0) await lookAtOutputs();
    }
    const isOver = await endLoad(load, restS, signal);
    await lookAtOutputs();
    await leases.close();
    const withoutLease = [...leases.found, ...leases.unwatched(world.postgres.away)];
    if (leases.looks === 0) withoutLease.push('nobody could look');
    return { records: callers.records, strokes, isOver, missing, outputs, withoutLease };
  } finally {
    ending.abort();
    release();
    await leases.close();
  }

  async function lookAtOutputs(): Promise<void> {
    const { looked, wrong } = await askUntilAnswered(
      () => wrongOutputs(world, callers.records, fetchedRetentionS),
      signal,
    );
    outputs.looked += looked;
    for (const found of wrong) outputs.wrong.add(found);
  }
}

/** For as long as a fault may last: what fails then is no outage. */
async function askUntilAnswered<Answer>(
  ask: () => Promise<Answer>,
  signal: AbortSignal,
): Promise<Answer> {
  const until = performance.now() + answerWithinMs;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (performance.now() > until) throw error;
      await sleep(500, undefined, { signal });
    }
  }
}

function lineOf(result: StrokeResult, all: number): string {
  const { number, fault, phase, hit, proofs, recoveryMs, trouble } = result;
  const at = hit === undefined ? 'nobody came there' : `${hit.point} of ${hit.process} ${hit.pid}`;
  const recovered =
    recoveryMs === undefined ? 'not recovered' : `${(recoveryMs / 1000).toFixed(1)} s`;
  const what = proofs.map(({ what: how }) => String(how)).slice(0, 3);
  const more = trouble === undefined ? '' : `, trouble: ${trouble}`;
  return `${number}/${all} ${phase}: ${fault}: ${at} (${what.join(', ')}): ${recovered}${more}`;
}

function replacedOf(ended: readonly EndedProcess[]): ReadonlySet<number> {
  return new Set(ended.filter(({ wasReplaced }) => wasReplaced).map(({ pid }) => pid));
}

function countBy<Item>(items: readonly Item[], keyOf: (item: Item) => string) {
  const counts: Record<string, number> = {};
  for (const item of items) counts[keyOf(item)] = (counts[keyOf(item)] ?? 0) + 1;
  return counts;
}

function secondsSince(began: number): string {
  return ((performance.now() - began) / 1000).toFixed(1);
}
