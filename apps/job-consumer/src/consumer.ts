import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { EngineError, type ContainerEngine } from '@inference-server/container-engine';
import { lackOfEngine, type ConsumerRegistration } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import { crashPoint, type Logger } from '@inference-server/service-kit';
import { createTicketReceiver, type Ticket } from '@inference-server/task-queue';
import { createActiveAttempts } from './active-attempts.js';
import { createEngineSweeps, startEngineSweeps } from './engine-sweeps.js';
import { watchEngine } from './engine-watch.js';
import type { FleetMember } from './fleet.js';
import type { ConsumerIdentity } from './identities.js';
import { startHeartbeat } from './heartbeat.js';
import type { ModelVolumeLimits } from './model-volume-sweep.js';
import { createNames } from './names.js';
import { createPrivateApiClient } from './private-api-client.js';
import { probeStart } from './probe.js';
import { createQuarantine } from './quarantine.js';
import { startHosting, untilReplicasFound } from './replicas/hosting.js';
import type { HostingSettings } from './replicas/replica-run.js';
import { startReconciliation, untilFirstPass } from './reconciliation.js';
import type { RunDeps, RunSettings } from './run/attempt-run.js';
import { claimAttempt } from './run/claim.js';
import { openSpool } from './spool.js';
import type { StorageWatch } from './storage-watch.js';

export interface ConsumerOptions {
  /** This consumer among those of its process. */
  member: FleetMember;
  /** Names the process: its consumers can lend each other their devices. */
  process: string;
  engine: ContainerEngine;
  gpuSource: RunDeps['gpuSource'];
  storageWatch: StorageWatch;
  privateApiUrl: string;
  redisUrl: string;
  queuePrefix: string;
  workDir: string;
  version: string;
  settings: Omit<RunSettings, 'spoolFolder'>;
  hosting: HostingSettings;
  /** How long another process of this name is waited for. */
  predecessorMs: number;
  /** So many faults of the device or the engine in a row, and the pause before it is looked at again. */
  quarantine: { after: number; pauseMs: number };
  modelVolumes: ModelVolumeLimits;
  /** How often what is of no use any more, or lost sight of, is looked for in the engine. */
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
  const { member, engine } = options;
  const { identity, room } = member;
  const gpus = identity.device === null ? [] : [identity.device.uuid];
  const logger = options.logger.child({ consumer: identity.id });
  const holder = randomUUID();
  const spoolFolder = await openSpool(options.workDir, identity.id);
  const api = createPrivateApiClient({
    url: options.privateApiUrl,
    token: identity.token,
    consumerId: identity.id,
  });
  const outOfTime = new AbortController();
  const closing = new AbortController();
  // All attempts share them.
  setMaxListeners(0, outOfTime.signal, closing.signal);

  const engineWatch = watchEngine({ engine, logger });
  await engineWatch.known;
  /** The name of the quarantine's probe that is under way. */
  let probing: string | undefined;
  const { policy } = options.settings;
  const wantsOfEngine = policy.runtime !== undefined || policy.require_userns === true;
  const isUntested = identity.device !== null || wantsOfEngine;
  const quarantine = createQuarantine({
    ...options.quarantine,
    untested: isUntested,
    probe: async (signal) => {
      const { limits } = identity;
      const { runtime } = policy;
      const lack = wantsOfEngine && lackOfEngine(policy, await engine.describe(signal));
      if (typeof lack === 'string') throw new EngineError('failed', lack);
      const probe = names.probe(randomUUID());
      probing = probe.name;
      try {
        await probeStart(engine, { ...probe, gpus, limits, runtime, volumes: {} }, signal);
        if (gpus.length === 0) return;
        const trouble = await options.gpuSource.troubleWith(gpus, signal);
        if (trouble !== undefined) throw new EngineError('failed', trouble.reason);
      } finally {
        probing = undefined;
      }
    },
    onChange: () => {
      setOpen();
      heartbeat.beat();
    },
    logger,
  });
  let pending: string | undefined = untilFirstPass;
  /** So many of its slots are those of containers that nobody is in charge of. */
  let held = 0;
  /** Another consumer has its device by private-api's books. */
  let isTaken = false;
  let replicasPending: string | undefined = untilReplicasFound;
  /** A pass that ends later does not undo it. */
  let stopping: string | undefined;
  const registration = (): ConsumerRegistration => ({
    holder,
    version: options.version,
    ...stateOf(engineWatch.isReady, stopping ?? pending ?? replicasPending, quarantine.reason),
    ...leftOf(identity, held),
    device: identity.device,
    host: identity.host,
    process: options.process,
    labels: identity.labels,
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
      hosting.forgetAll();
      replace(error);
    },
    onTaken: () => {
      isTaken = true;
      setOpen();
    },
    onBack: () => {
      isTaken = false;
      setOpen();
      reconciliation.hurry();
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
    gpuSource: options.gpuSource,
    storageWatch: options.storageWatch,
    api,
    names,
    modelVolumes: { engine, names, newRandom: randomUUID, now: () => new Date() },
    logger,
    settings: { ...options.settings, spoolFolder },
  };

  const setOpen = () => {
    const isClear = pending === undefined && replicasPending === undefined;
    room.setOpen(isClear && quarantine.reason === undefined && !isTaken);
  };
  const attempts = createActiveAttempts({
    deps,
    outOfTime: outOfTime.signal,
    onMayRun: (ticket, giveBack) => {
      reconciliation.keep(ticket, giveBack);
    },
    onTraces: () => {
      reconciliation.hurry();
    },
  });
  if (isUntested) quarantine.test();
  const reconciliation = startReconciliation(
    { ...deps, engineWatch, attempts, member, isInUse: (container) => container === probing },
    {
      holder,
      intervalMs: options.sweepIntervalMs,
      onPending: (reason, heldPlaces) => {
        if (reason === pending && heldPlaces === held) return;
        pending = reason;
        held = heldPlaces;
        setOpen();
        heartbeat.beat();
      },
      signal: closing.signal,
      outOfTime: outOfTime.signal,
    },
  );
  const hosting = startHosting(
    { ...deps, engineWatch, member, holder, hosting: options.hosting },
    {
      closing: closing.signal,
      outOfTime: outOfTime.signal,
      // What is left is for the containers to end.
      drainMs: options.stopGraceMs / 2,
      onDraining: () => {
        stopping = untilStopped;
        heartbeat.beat();
      },
      onSettled: () => {
        replicasPending = undefined;
        setOpen();
        heartbeat.beat();
      },
    },
  );
  member.onNews({
    accuse: (reason) => quarantine.accuse(reason),
    suspect: (reason) => quarantine.suspect(reason),
    look: () => reconciliation.hurry(),
  });
  engineWatch.subscribe((isReady) => {
    if (isReady) {
      reconciliation.hurry();
      hosting.look();
    } else reconciliation.reset();
    // It may have come back with other settings.
    if (isReady && wantsOfEngine) quarantine.suspect('Its engine is being looked at.');
    setOpen();
    heartbeat.beat();
  });

  const sweeps = startEngineSweeps(
    createEngineSweeps(
      { ...deps.modelVolumes, api, logger },
      { own: identity.id, modelVolumes: options.modelVolumes },
    ),
    { engineWatch, intervalMs: options.sweepIntervalMs, logger },
  );

  const onTicket = async (ticket: Ticket): Promise<void> => {
    await room.waitForPlace(closing.signal);
    // A ticket can come twice.
    const reservation = attempts.reserve(ticket);
    if (reservation === undefined) return;
    const place = room.takePlace();
    const giveUp = () => {
      reservation.release();
      place.free();
    };
    try {
      crashPoint('ticket_taken', ticket.taskUid);
      const claim = await claimAttempt({ api, logger }, ticket, holder, outOfTime.signal);
      if (claim === undefined) giveUp();
      else {
        crashPoint('claim_won', ticket.taskUid);
        reservation.start(claim, member.allot(ticket, place, claim.work), { isAdopted: false });
      }
    } catch (error) {
      giveUp();
      // It may have been won all the same: then nobody else holds it.
      reconciliation.hurry();
      throw error;
    }
  };

  const receiver = createTicketReceiver({
    redisUrl: options.redisUrl,
    prefix: options.queuePrefix,
    consumerId: identity.id,
    logger,
    waitForRoom: (signal) => room.waitForPlace(signal),
    onTicket,
  });
  logger.info({ slots: identity.slots, gpus }, 'ready for tickets');

  return {
    replaced,
    async close() {
      closing.abort(new AppError('SERVICE_UNAVAILABLE', 'The consumer is stopping.'));
      const timer = setTimeout(() => {
        outOfTime.abort(new AppError('SERVICE_UNAVAILABLE', 'The grace time is over.'));
      }, options.stopGraceMs);
      const probed = quarantine.close();
      await receiver.close();
      attempts.leaveAll();
      // Who is not heard of any more has its replicas taken for lost.
      await hosting.announceEnd();
      await heartbeat.close();
      const hosted = hosting.close();
      // Before the attempts are given back, so that none of them comes to this consumer again.
      await signOff();
      await reconciliation.ended;
      await attempts.ended();
      await hosted;
      // A probe that is under way is not cut short.
      await probed;
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

/** Without the slots that are held, and their part of the host. What is held of a device blocks all of it. */
function leftOf(
  { device, slots, share }: ConsumerIdentity,
  held: number,
): Pick<ConsumerRegistration, 'slots' | 'share'> {
  const left = device === null ? Math.max(1, slots - held) : slots;
  const cpus = (share.cpus * left) / slots;
  const memoryMib = Math.floor((share.memory_mib * left) / slots);
  return { slots: left, share: { ...share, cpus, memory_mib: memoryMib } };
}

const untilStopped = 'It is stopping.';

function stateOf(
  engineIsReady: boolean,
  pending: string | undefined,
  quarantine: string | undefined,
): Pick<ConsumerRegistration, 'state' | 'reason'> {
  if (!engineIsReady) return { state: 'engine_away', reason: null };
  if (pending !== undefined) return { state: 'reconciling', reason: storable(pending) };
  if (quarantine !== undefined) return { state: 'quarantined', reason: storable(quarantine) };
  return { state: 'ready', reason: null };
}

/** PostgreSQL takes no NUL in a text, and no half of a surrogate pair, which a cut may leave. */
function storable(reason: string): string {
  return reason
    .replaceAll('\0', '')
    .slice(0, 1000)
    .replaceAll(/\p{Surrogate}/gu, '');
}

const signOffMs = 2_000;
