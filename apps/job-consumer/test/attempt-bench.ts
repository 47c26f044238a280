import { randomUUID } from 'node:crypto';
import { createDockerEngine, type ContainerEngine } from '@inference-server/container-engine';
import { createLogger } from '@inference-server/service-kit';
import { testFolder } from '@inference-server/testing';
import { createFleet, type Allotment } from '../src/fleet.js';
import { createNames, type Names } from '../src/names.js';
import { createPrivateApiClient } from '../src/private-api-client.js';
import { startAttempt, type RunningAttempt } from '../src/run/attempt.js';
import type { RunDeps, RunSettings } from '../src/run/attempt-run.js';
import { createStorageWatch } from '../src/storage-watch.js';
import { claimAttempt, type Claim } from '../src/run/claim.js';
import { noGpuSource, testIdentity } from './test-identity.js';
import type { TestPrivateApi, TestTask } from './test-private-api.js';

/** All that a consumer has, without its tickets: attempts are claimed and started by hand. */
export interface AttemptBench {
  engine: ContainerEngine;
  names: Names;
  deps: RunDeps;
  /** What the phases took for a sign that the engine is away. */
  suspicions: unknown[];
  start(task: TestTask, settings?: Partial<RunSettings>): Promise<RunningAttempt>;
  /** Goes on with a container that an earlier process has started, `earlierMs` before it really did. */
  adopt(task: TestTask, earlierMs?: number): Promise<RunningAttempt>;
  close(): Promise<void>;
}

export async function createAttemptBench(options: {
  api: TestPrivateApi;
  installationId: string;
  dockerHost: string;
  consumerId?: string;
  settings?: Partial<RunSettings>;
  staleAfterMs?: number;
  now?: () => Date;
}): Promise<AttemptBench> {
  const { consumerId = 'consumer-a' } = options;
  const engine = createDockerEngine({
    dockerHost: options.dockerHost,
    deadlines: { pollMs: 300, awayMs: 1_000 },
  });
  const names = createNames(options.installationId, consumerId);
  const client = createPrivateApiClient({ url: options.api.url, token: 'none', consumerId });
  const suspicions: unknown[] = [];
  const logger = createLogger('test', 'silent');
  const deps: RunDeps = {
    engine,
    storageWatch: createStorageWatch({ engine, logger, pauseMs: 200 }),
    engineWatch: { suspect: (error) => suspicions.push(error) },
    gpuSource: noGpuSource,
    quarantine: { begin: () => () => undefined },
    api: client,
    names,
    modelVolumes: {
      engine,
      names,
      newRandom: randomUUID,
      now: options.now ?? (() => new Date()),
      pollMs: 50,
      staleAfterMs: options.staleAfterMs ?? 60_000,
    },
    logger,
    settings: {
      spoolFolder: await testFolder(),
      policy: {},
      credentialsOf: () => undefined,
      imageRetryMs: 1_000,
      gpuCheckMs: 500,
      looksInside: true,
      containerGraceMs: 1_000,
      maxOutputBytes: 10 * 1024 ** 2,
      maxScratchBytes: 10 * 1024 ** 2,
      maxOutputEntries: 100,
      logTailBytes: 10_000,
      handsOver: true,
      ...options.settings,
    },
  };
  const never = new AbortController().signal;
  const claim = async (task: TestTask): Promise<Claim> => {
    const ticket = { taskUid: task.uid, attempt: task.attempt };
    const claimed = await claimAttempt({ api: client, logger }, ticket, consumerId, never);
    if (claimed === undefined) throw new Error('the claim was refused');
    return claimed;
  };
  const allot = ({ held, work }: Claim): Allotment => {
    const identity = testIdentity({ id: consumerId });
    const member = createFleet([identity]).get(consumerId)!;
    return member.allot(held, member.room.takePlace(), work);
  };
  return {
    engine,
    names,
    deps,
    suspicions,
    async start(task, settings) {
      const own = { ...deps, settings: { ...deps.settings, ...settings } };
      const claimed = await claim(task);
      return startAttempt(own, claimed, allot(claimed), never, { isAdopted: false });
    },
    async adopt(task, earlierMs = 0) {
      const inspectContainer: ContainerEngine['inspectContainer'] = async (...args) => {
        const found = await deps.engine.inspectContainer(...args);
        if (found?.startedAt === undefined) return found;
        return { ...found, startedAt: new Date(found.startedAt.getTime() - earlierMs) };
      };
      const own = { ...deps, engine: { ...deps.engine, inspectContainer } };
      const claimed = await claim(task);
      return startAttempt(own, claimed, allot(claimed), never, { isAdopted: true });
    },
    close: () => client.close(),
  };
}
