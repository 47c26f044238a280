import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { totalmem } from 'node:os';
import type { ContainerEngine } from '@inference-server/container-engine';
import type { ConsumerRegistration } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import { createTicketReceiver, type Ticket } from '@inference-server/task-queue';
import { createActiveAttempts } from './active-attempts.js';
import type { ConsumerIdentity } from './config.js';
import { createEngineSweeps, startEngineSweeps } from './engine-sweeps.js';
import { watchEngine } from './engine-watch.js';
import { startHeartbeat } from './heartbeat.js';
import { removeLeftovers } from './leftovers.js';
import type { ModelVolumeLimits } from './model-volume-sweep.js';
import { createNames } from './names.js';
import { createPrivateApiClient } from './private-api-client.js';
import { probeStart } from './probe.js';
import { createQuarantine } from './quarantine.js';
import { adoptAttempts } from './run/adopt.js';
import type { RunDeps, RunSettings } from './run/attempt-run.js';
import { claimAttempt } from './run/claim.js';
import { createSlots } from './slots.js';
import { openSpool } from './spool.js';
import type { StorageWatch } from './storage-watch.js';

export interface ConsumerOptions {
  identity: ConsumerIdentity;
  engine: ContainerEngine;
  storageWatch: StorageWatch;
  privateApiUrl: string;
  redisUrl: string;
  queuePrefix: string;
  workDir: string;
  version: string;
  settings: Omit<RunSettings, 'gpu' | 'limits' | 'spoolFolder'>;
  /** How long another process of this name is waited for. */
  predecessorMs: number;
  /** So many faults of the device or the engine in a row, and the pause before it is looked at again. */
  quarantine: { after: number; pauseMs: number };
  modelVolumes: ModelVolumeLimits;
  /** How often what is of no use any more is looked for in the engine. */
  sweepIntervalMs: number;
  /** How long closing may take. */
  stopGraceMs: number;
  logger: Logger;
}

export interface Consumer {
  /** Takes no more tickets, leaves what runs to its successor or gives it back, and signs off. */
  close(): Promise<void>;
  /** Rejects when another process has become this consumer; nothing of its attempts is touched then. */
  replaced: Promise<never>;
}

/**
 * One consumer at work: registered, what its earlier process left adopted, taking tickets while it has
 * room and can start containers. Resolves once it is registered; the engine, Redis and private-api may
 * go away and come back after that.
 */
export async function startConsumer(
  options: ConsumerOptions,
  starting: AbortSignal,
): Promise<Consumer> {
  const { identity, engine } = options;
  const logger = options.logger.child({ consumer: identity.id });
  const holder = randomUUID();
  const spoolFolder = await openSpool(options.workDir, identity.id);
  const api = createPrivateApiClient({
    url: options.privateApiUrl,
    token: identity.token,
    consumerId: identity.id,
  });
  const slots = createSlots(identity.slots);
  const outOfTime = new AbortController();
  const closing = new AbortController();
  const isClosing = () => closing.signal.aborted;
  // All attempts share them.
  setMaxListeners(0, outOfTime.signal, closing.signal);

  const engineWatch = watchEngine({ engine, logger });
  await engineWatch.known;
  const quarantine = createQuarantine({
    ...options.quarantine,
    probe: (signal) => {
      const { gpu, limits } = identity;
      return probeStart(deps.modelVolumes, { gpu, limits, volumes: [] }, signal);
    },
    onChange: () => {
      setOpen();
      heartbeat.beat();
    },
    logger,
  });
  const registration = (): ConsumerRegistration => ({
    holder,
    version: options.version,
    ...stateOf(engineWatch.isReady, quarantine.reason),
    slots: identity.slots,
    gpu_uuid: identity.gpu,
    memory_mib: Math.floor(totalmem() / 1024 ** 2),
    labels: {},
  });
  let replace: (error: AppError) => void = () => undefined;
  const replaced = new Promise<never>((_resolve, reject) => (replace = reject));
  replaced.catch(() => undefined);
  const heartbeat = await startHeartbeat({ api, logger }, registration, {
    starting,
    predecessorMs: options.predecessorMs,
    onReplaced: (error) => {
      closing.abort(error);
      attempts.forgetAll();
      replace(error);
    },
  }).catch(async (error: unknown) => {
    await engineWatch.close();
    await api.close();
    throw error;
  });
  const names = createNames(heartbeat.registered.installation_id, identity.id);
  const deps: RunDeps = {
    engine,
    engineWatch,
    quarantine,
    storageWatch: options.storageWatch,
    api,
    names,
    modelVolumes: { engine, names, newRandom: randomUUID, now: () => new Date() },
    logger,
    settings: { ...options.settings, gpu: identity.gpu, limits: identity.limits, spoolFolder },
  };

  let isTidy = false;
  let tidying = Promise.resolve();
  const setOpen = () => {
    slots.setOpen(isTidy && engineWatch.isReady && quarantine.reason === undefined);
  };
  /** What was left behind is adopted, or else removed: in this order. */
  const tidy = async (): Promise<void> => {
    if (isClosing()) return;
    const isActive = (taskUid: string, attempt: number) => attempts.has({ taskUid, attempt });
    try {
      const adoptions = await adoptAttempts(deps, holder, isActive, closing.signal);
      for (const { claim, adopted } of adoptions) {
        const { taskUid, attempt } = claim.held;
        logger.info({ taskUid, attempt, runs: adopted !== 'missing' }, 'adopted');
        attempts.start(claim, slots.take(), adopted);
      }
      await removeLeftovers({ engine, names, logger }, isActive, outOfTime.signal);
      isTidy = true;
    } catch (error) {
      if (isClosing()) return;
      logger.warn({ reason: messageOf(error) }, 'not tidied up');
      engineWatch.suspect(error);
    }
    setOpen();
  };
  const tidyNext = () => {
    tidying = tidying.then(tidy);
  };
  const attempts = createActiveAttempts({
    deps,
    slots,
    outOfTime: outOfTime.signal,
    onTraces: () => {
      if (engineWatch.isReady) tidyNext();
    },
  });
  engineWatch.subscribe((isReady) => {
    heartbeat.beat();
    setOpen();
    if (isReady) tidyNext();
  });

  const sweeps = startEngineSweeps(
    createEngineSweeps(
      { ...deps.modelVolumes, api, logger },
      { own: identity.id, modelVolumes: options.modelVolumes },
    ),
    { engineWatch, intervalMs: options.sweepIntervalMs, logger },
  );

  const onTicket = async (ticket: Ticket): Promise<void> => {
    await slots.waitForRoom(closing.signal);
    const freeSlot = slots.take();
    try {
      const claim = await claimAttempt({ api, logger }, ticket, holder, outOfTime.signal);
      // A ticket can come twice: the second wins the claim of the first, being the same holder.
      if (claim === undefined || attempts.has(ticket)) freeSlot();
      else attempts.start(claim, freeSlot);
    } catch (error) {
      freeSlot();
      throw error;
    }
  };

  const receiver = createTicketReceiver({
    redisUrl: options.redisUrl,
    prefix: options.queuePrefix,
    consumerId: identity.id,
    logger,
    waitForRoom: (signal) => slots.waitForRoom(signal),
    onTicket,
  });
  logger.info({ slots: identity.slots, gpu: identity.gpu }, 'ready for tickets');

  return {
    replaced,
    async close() {
      closing.abort(new AppError('SERVICE_UNAVAILABLE', 'The consumer is stopping.'));
      const timer = setTimeout(() => {
        outOfTime.abort(new AppError('SERVICE_UNAVAILABLE', 'The grace time is over.'));
      }, options.stopGraceMs);
      await receiver.close();
      await heartbeat.close();
      await quarantine.close();
      await tidying;
      attempts.leaveAll();
      // Before the attempts are given back, so that none of them comes to this consumer again.
      await signOff();
      await attempts.ended();
      await sweeps.close();
      clearTimeout(timer);
      await engineWatch.close();
      await api.close();
    },
  };

  async function signOff(): Promise<void> {
    try {
      await api.signOff(holder, AbortSignal.timeout(signOffMs));
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'not signed off: private-api will notice');
    }
  }
}

function stateOf(
  engineIsReady: boolean,
  quarantine: string | undefined,
): Pick<ConsumerRegistration, 'state' | 'reason'> {
  if (!engineIsReady) return { state: 'engine_away', reason: null };
  if (quarantine === undefined) return { state: 'ready', reason: null };
  // PostgreSQL takes no NUL in a text.
  return { state: 'quarantined', reason: quarantine.replaceAll('\0', '').slice(0, 1000) };
}

const signOffMs = 2_000;
