import { readFile, rm, writeFile } from 'node:fs/promises';
import { waitUntil } from '@inference-server/local-services';
import { callEngine, modelContainers } from '../world/engine-call.js';
import type { Engine } from '../world/world.js';
import { longerThanLeaseMs, type Fault, type Scene } from './fault.js';
import { end, freeze } from './harm.js';
import { engineOf } from './victims.js';

const atTheEngine = ['claim', 'stage', 'run', 'collect', 'settle'] as const;

/** A consumer waits for 30 s for its engine, then each of its runs is a fault. */
const longerThanRunsWaitMs = 40_000;

/** The container engines, what happens to containers from outside, and the device. */
export const engineFaults: readonly Fault[] = [
  ...([true, false] as const).flatMap((liveRestore) =>
    (['SIGTERM', 'SIGKILL'] as const).map((signal): Fault => ({
      name: `the engine ${liveRestore ? 'with' : 'without'} live-restore gets ${signal}`,
      phases: atTheEngine,
      async strike(scene) {
        const { evidence, excuseForgottenEnds, excuseRestarts, excuseStoppedStarts } = scene;
        const { goOn, pause, random } = scene;
        const engine = engineOf(scene);
        if (!liveRestore) excuseRestarts(engine.serves);
        excuseForgottenEnds(engine.serves);
        if (engine.liveRestore !== liveRestore) {
          // Whoever stands still does not for as long as that takes.
          if (!engine.serves.includes(scene.at.name)) goOn();
          const isOver = excuseRestarts(engine.serves);
          await turnLiveRestore(engine, liveRestore);
          isOver();
        }
        evidence('the engine', { liveRestore });
        const hasEnded = signal === 'SIGTERM' ? excuseStoppedStarts(engine.serves) : undefined;
        await end(scene, engine, signal);
        hasEnded?.();
        goOn();
        await pause(random.between(0, 4_000));
        scene.undoing();
        await engine.start();
      },
    })),
  ),
  {
    name: 'the engine takes connections and never answers',
    phases: ['claim', 'stage', 'run', 'collect'],
    strike: async (scene) => freeze(scene, engineOf(scene), longerThanLeaseMs),
  },
  {
    name: 'the engine takes connections and does not answer for longer than a run waits for it',
    phases: ['claim', 'stage', 'run', 'collect'],
    async strike(scene) {
      const engine = engineOf(scene);
      scene.excuseRestarts(engine.serves);
      await freeze(scene, engine, longerThanRunsWaitMs);
    },
  },
  {
    name: 'containers are killed from outside',
    phases: ['run'],
    async strike(scene) {
      excuseAll(scene);
      await meetContainers(scene, 'POST', (id) => `/containers/${id}/kill`, ['running']);
      scene.undoing();
    },
  },
  {
    name: 'containers are removed from outside',
    phases: ['run', 'collect'],
    async strike(scene) {
      excuseAll(scene);
      const states = ['running', 'exited'];
      await meetContainers(scene, 'DELETE', (id) => `/containers/${id}?force=1`, states);
      scene.undoing();
    },
  },
  {
    name: 'containers are paused from outside',
    phases: ['run'],
    async strike(scene) {
      const met = await meetContainers(scene, 'POST', (id) => `/containers/${id}/pause`, [
        'running',
      ]);
      await scene.pause(longerThanLeaseMs);
      scene.undoing();
      for (const { socketPath, id } of met) {
        await callEngine(socketPath, 'POST', `/containers/${id}/unpause`).catch(ofOneThatIsGone);
      }
    },
  },
  {
    name: 'the hook of the device fails',
    model: 'gpu',
    phases: ['claim', 'stage'],
    async strike({ world, evidence, proof, goOn, pause, undoing }) {
      const { brokenDevice } = world;
      await writeFile(brokenDevice, '');
      try {
        evidence('the device cannot be given', { file: brokenDevice });
        goOn();
        await pause(8_000);
        const refusals = async () => (await readFile(brokenDevice, 'utf8')).length;
        await waitUntil(async () => (await refusals()) > 0, { timeoutMs: 30_000 });
        const times = await refusals();
        if (times > 0) proof('the hook has failed', { times });
      } finally {
        undoing();
        await rm(brokenDevice);
      }
    },
  },
];

function excuseAll({ world, excuseRestarts }: Scene): void {
  excuseRestarts(world.consumers.map(({ name }) => name));
}

/** A restart of its own, before the one that is the fault. */
async function turnLiveRestore(engine: Engine, liveRestore: boolean): Promise<void> {
  await engine.end('SIGTERM');
  engine.liveRestore = liveRestore;
  await engine.start();
}

async function meetContainers(
  { world, evidence, proof, goOn }: Scene,
  method: string,
  path: (id: string) => string,
  states: readonly string[],
): Promise<{ socketPath: string; id: string }[]> {
  const met: { socketPath: string; id: string }[] = [];
  const meet = async () => {
    for (const { name, socketPath } of world.engines) {
      for (const id of await modelContainers(socketPath, states)) {
        const call = `${method} ${path(id)}`;
        try {
          await callEngine(socketPath, method, path(id));
          proof(call, { engine: name });
          met.push({ socketPath, id });
        } catch (error) {
          ofOneThatIsGone(error);
          evidence(call, { engine: name, error: String(error) });
        }
      }
    }
    return met.length > 0;
  };
  await meet();
  goOn();
  // The one that was met may have been quick: the next will do.
  if (met.length === 0) await waitUntil(meet, { timeoutMs: 30_000, everyMs: 20 });
  return met;
}

/** It has ended, was cancelled or ran out of time meanwhile. */
function ofOneThatIsGone(error: unknown): void {
  if (!/ (404|409) | 500 .*is not (running|paused)/.test(String(error))) throw error;
}
