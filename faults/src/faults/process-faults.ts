import { setTimeout as sleep } from 'node:timers/promises';
import { waitUntil } from '@inference-server/local-services';
import type { AppProcess } from '../world/app-process.js';
import type { Link } from '../world/link.js';
import type { World } from '../world/world.js';
import { modelContainers } from '../world/engine-call.js';
import { allPhases, longerThanLeaseMs, type Fault, type Scene } from './fault.js';
import { end, freeze, restart } from './harm.js';
import { anyOf, atOrAny, leaderOf } from './victims.js';

/** One that was replaced hears of it when it renews its next lease, or at its next heartbeat. */
const noticesWithinMs = 30_000;

/** Our own processes: killed, asked to end, frozen, replaced. */
export const processFaults: readonly Fault[] = [
  {
    name: 'the process that is at it is killed',
    phases: allPhases,
    isAtEveryPoint: true,
    strike: async (scene) => kill(scene, scene.at, scene.random.between(0, 3_000)),
  },
  {
    name: 'the process that is at it is killed and stays away for longer than a lease',
    phases: ['ticket', 'claim', 'stage', 'run', 'collect', 'settle'],
    strike: async (scene) => kill(scene, scene.at, longerThanLeaseMs),
  },
  {
    name: 'the process that is at it is frozen for longer than a lease',
    phases: allPhases,
    isAtEveryPoint: true,
    async strike(scene) {
      scene.excuseLapses(consumersOf(scene.at));
      await freeze(scene, scene.at, longerThanLeaseMs);
    },
  },
  {
    name: 'the process that is at it is asked to end',
    phases: allPhases,
    isAtEveryPoint: true,
    strike: async (scene) => restart(scene, scene.at, 'SIGTERM', 0),
  },
  {
    name: 'the process that is at it is asked to end and stays away for longer than a lease',
    phases: ['stage', 'run', 'collect'],
    strike: async (scene) => restart(scene, scene.at, 'SIGTERM', longerThanLeaseMs),
  },
  ...(['public-api', 'private-api', 'job-consumer'] as const).flatMap((app): Fault[] => [
    {
      name: `a ${app} gets SIGKILL`,
      phases: ['post', 'run', 'settle'],
      strike: async (scene) => kill(scene, anyOf(scene, app), scene.random.between(0, 2_000)),
    },
    {
      name: `a ${app} gets SIGTERM`,
      phases: ['post', 'run', 'settle'],
      strike: async (scene) =>
        restart(scene, anyOf(scene, app), 'SIGTERM', scene.random.between(0, 2_000)),
    },
  ]),
  {
    name: 'a private-api gets SIGTERM while PostgreSQL stands still',
    phases: ['post', 'run', 'settle'],
    async strike(scene) {
      const { world, evidence, undoing } = scene;
      const victim = atOrAny(scene, 'private-api');
      evidence('frozen', { process: world.postgres.name, pid: world.postgres.pid });
      await world.postgres.freeze();
      // It is frozen for as long as the other takes to end: its grace at most.
      await end(scene, victim, 'SIGTERM');
      undoing();
      await world.postgres.thaw();
      await victim.start();
    },
  },
  {
    name: 'a public-api is frozen',
    phases: ['post', 'run', 'settle'],
    strike: async (scene) => freeze(scene, anyOf(scene, 'public-api'), longerThanLeaseMs),
  },
  {
    name: 'a consumer is frozen, replaced, and goes on',
    phases: ['claim', 'stage', 'run', 'collect'],
    strike: replaceFrozen,
  },
  {
    name: 'a consumer is asked to end while no private-api can be reached',
    phases: ['run', 'collect'],
    strike: endCutOff,
  },
  {
    name: 'a consumer starts while no private-api is there',
    phases: ['claim', 'run'],
    async strike(scene) {
      const { world, excuseLapses, goOn, pause, undoing } = scene;
      const victim = atOrAny(scene, 'job-consumer');
      excuseLapses(consumersOf(victim));
      for (const one of [victim, ...world.privateApis]) await end(scene, one, 'SIGKILL');
      goOn();
      const started = victim.start();
      // It is waited for below.
      started.catch(() => undefined);
      await pause(4_000);
      undoing();
      for (const one of world.privateApis) await one.start();
      await started;
    },
  },
  {
    name: 'the consumer of the GPU is frozen for longer than a lease',
    phases: ['run'],
    // Nobody else can claim the next attempt: it resumes its own.
    model: 'gpu',
    async strike(scene) {
      const victim = anyOf(scene, 'job-consumer-gpu');
      scene.excuseLapses(consumersOf(victim));
      await freeze(scene, victim, longerThanLeaseMs);
    },
  },
  {
    name: 'a consumer is killed and never comes back',
    phases: ['run'],
    strike: loseConsumer,
  },
  {
    name: 'a consumer starts, and is never answered whether it may adopt what runs',
    phases: ['run'],
    async strike(scene) {
      const { world, excuseLapses, proof, undoing } = scene;
      const victim = atOrAny(scene, 'job-consumer');
      const link = linkOf(world, victim);
      excuseLapses(consumersOf(victim));
      await end(scene, victim, 'SIGKILL');
      const held = link.loseAnswerTo('/adopt', 'forever');
      undoing();
      await victim.start();
      const { connection } = await Promise.race([held, neverWithin(20_000)]);
      proof('an adoption was not answered', { process: victim.name, connection });
      link.heal();
    },
  },
  {
    name: 'the leader is killed',
    phases: ['ticket', 'run', 'settle'],
    strike: async (scene) => kill(scene, await leaderOf(scene), longerThanLeaseMs),
  },
  {
    name: 'both private-apis are killed',
    phases: ['ticket', 'claim', 'run', 'settle'],
    async strike(scene) {
      const { world, goOn, pause, undoing } = scene;
      for (const victim of world.privateApis) await end(scene, victim, 'SIGKILL');
      goOn();
      await pause(longerThanLeaseMs);
      undoing();
      for (const victim of world.privateApis) await victim.start();
    },
  },
  {
    name: 'every process is replaced, one after the other',
    phases: ['run'],
    async strike(scene) {
      const { world } = scene;
      scene.goOn();
      for (const victim of [...world.publicApis, ...world.privateApis, ...world.consumers]) {
        await restart(scene, victim, 'SIGTERM', 0);
      }
    },
  },
];

async function kill(scene: Scene, victim: AppProcess, awayMs: number): Promise<void> {
  scene.excuseLapses(consumersOf(victim));
  await restart(scene, victim, 'SIGKILL', awayMs);
}

/** The next process of its name is at work when it wakes: it ends by itself. */
async function replaceFrozen(scene: Scene): Promise<void> {
  const { evidence, proof, excuseLapses, goOn, undoing } = scene;
  const victim = atOrAny(scene, 'job-consumer');
  excuseLapses(consumersOf(victim));
  evidence('frozen', { process: victim.name, pid: victim.pid });
  const first = victim.letGo();
  first.freeze();
  if (victim !== scene.at) goOn();
  undoing();
  await victim.start();
  evidence('replaced', { process: victim.name, pid: victim.pid });
  first.thaw();
  const late = new AbortController();
  const how = await Promise.race([
    first.ended,
    sleep(noticesWithinMs, undefined, { signal: late.signal }).catch(() => undefined),
  ]);
  late.abort();
  if (how === undefined) {
    await first.end('SIGKILL');
    throw new Error(`${victim.name} ${first.pid} went on beside the one that had replaced it.`);
  }
  proof('ended by itself', { process: victim.name, pid: first.pid, ...how });
}

/** It can tell nobody that it leaves what it runs. */
async function endCutOff(scene: Scene): Promise<void> {
  const { world, evidence, excuseLapses, undoing } = scene;
  const victim = atOrAny(scene, 'job-consumer');
  const link = linkOf(world, victim);
  excuseLapses(consumersOf(victim));
  link.refuse();
  evidence('no way', { link: link.name });
  await end(scene, victim, 'SIGTERM');
  undoing();
  link.heal();
  await victim.start();
}

/** What it leaves behind its neighbour removes. */
async function loseConsumer(scene: Scene): Promise<void> {
  const { world, evidence, excuseLapses, goOn } = scene;
  goOn();
  const victim = await world.openPassingConsumer();
  evidence('one more', { process: victim.name });
  await victim.start();
  const [engine] = world.engines;
  const isAtWork = async () =>
    engine !== undefined &&
    (await modelContainers(engine.socketPath, ['running'], victim.name)).length > 0;
  const found = await waitUntil(isAtWork, { timeoutMs: 30_000, everyMs: 10 });
  if (!found) throw new Error(`${victim.name} was given nothing.`);
  excuseLapses(consumersOf(victim), 'for good');
  scene.undoing();
  await end(scene, victim, 'SIGKILL');
  await world.closePassingConsumer(victim);
}

function linkOf({ links }: World, { name }: AppProcess): Link {
  const link = links.get(`${name}-private`);
  if (link === undefined) throw new Error(`${name} has no link to private-api.`);
  return link;
}

async function neverWithin(ms: number): Promise<never> {
  await sleep(ms);
  throw new Error('Nobody asked.');
}

function consumersOf({ name }: AppProcess): string[] {
  return name.startsWith('job-consumer') ? [name] : [];
}
