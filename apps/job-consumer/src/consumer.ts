import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { totalmem } from 'node:os';
import type { ContainerEngine } from '@inference-server/container-engine';
import type { ConsumerRegistration } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import { createTicketReceiver, type Ticket } from '@inference-server/task-queue';
import type { ConsumerIdentity } from './config.js';
import { watchEngine } from './engine-watch.js';
import { startHeartbeat } from './heartbeat.js';
import { removeLeftovers } from './leftovers.js';
import { startModelVolumeSweeps, type ModelVolumeLimits } from './model-volume-sweep.js';
import { createNames } from './names.js';
import { createPrivateApiClient } from './private-api-client.js';
import { startAttempt, type RunningAttempt } from './run/attempt.js';
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
  modelVolumes: ModelVolumeLimits & { intervalMs: number };
  /** How long closing may take. */
  stopGraceMs: number;
  logger: Logger;
}

export interface Consumer {
  /** Takes no more tickets, gives back what runs, and signs off. */
  close(): Promise<void>;
}

/**
 * One consumer at work: registered, taking tickets while it has room and the engine answers. Resolves
 * once it is registered; the engine, Redis and private-api may go away and come back after that.
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
  const active = new Map<string, RunningAttempt>();
  const outOfTime = new AbortController();
  const closing = new AbortController();
  // All attempts share them.
  setMaxListeners(0, outOfTime.signal, closing.signal);

  const engineWatch = watchEngine({ engine, logger });
  await engineWatch.known;
  const registration = (): ConsumerRegistration => ({
    holder,
    version: options.version,
    state: engineWatch.isReady ? 'ready' : 'engine_away',
    slots: identity.slots,
    gpu_uuid: identity.gpu,
    memory_mib: Math.floor(totalmem() / 1024 ** 2),
    labels: {},
  });
  const heartbeat = await startHeartbeat({ api, logger }, registration, starting).catch(
    async (error: unknown) => {
      await engineWatch.close();
      await api.close();
      throw error;
    },
  );
  const names = createNames(heartbeat.registered.installation_id, identity.id);
  const deps: RunDeps = {
    engine,
    engineWatch,
    storageWatch: options.storageWatch,
    api,
    names,
    modelVolumes: { engine, names, newRandom: randomUUID, now: () => new Date() },
    logger,
    settings: { ...options.settings, gpu: identity.gpu, limits: identity.limits, spoolFolder },
  };

  let tidying = Promise.resolve();
  const tidy = async (): Promise<void> => {
    const isActive = (taskUid: string, attempt: number) => active.has(keyOf({ taskUid, attempt }));
    try {
      await removeLeftovers({ engine, names, logger }, isActive, outOfTime.signal);
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'leftovers could not be removed');
      engineWatch.suspect(error);
    }
    slots.setOpen(engineWatch.isReady);
  };
  const tidyNext = () => {
    tidying = tidying.then(tidy);
  };
  engineWatch.subscribe((isReady) => {
    heartbeat.beat();
    if (isReady) tidyNext();
    else slots.setOpen(false);
  });

  const sweeps = startModelVolumeSweeps(
    { ...deps.modelVolumes, api, engineWatch, logger },
    options.modelVolumes,
  );

  const onTicket = async (ticket: Ticket): Promise<void> => {
    const key = keyOf(ticket);
    // A ticket can come twice: the second would win the claim of the first, being the same holder.
    if (active.has(key)) return;
    await slots.waitForRoom(closing.signal);
    const leave = slots.take();
    try {
      const claim = await claimAttempt({ api, logger }, ticket, holder, outOfTime.signal);
      if (claim === undefined) {
        leave();
        return;
      }
      const attempt = startAttempt(deps, claim, outOfTime.signal);
      active.set(key, attempt);
      if (closing.signal.aborted) attempt.release();
      void attempt.settled.then(leave);
      void attempt.cleaned.then((isClean) => {
        active.delete(key);
        if (!isClean && engineWatch.isReady) tidyNext();
      });
    } catch (error) {
      leave();
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
    async close() {
      closing.abort(new AppError('SERVICE_UNAVAILABLE', 'The consumer is stopping.'));
      const timer = setTimeout(() => {
        outOfTime.abort(new AppError('SERVICE_UNAVAILABLE', 'The grace time is over.'));
      }, options.stopGraceMs);
      await receiver.close();
      await heartbeat.close();
      for (const attempt of active.values()) attempt.release();
      // Before the attempts are given back, so that none of them comes to this consumer again.
      await signOff();
      await Promise.all([...active.values()].map(({ cleaned }) => cleaned));
      await tidying;
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

function keyOf({ taskUid, attempt }: Ticket): string {
  return `${taskUid}.${attempt}`;
}

const signOffMs = 2_000;
