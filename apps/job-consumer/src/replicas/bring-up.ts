import { setTimeout as sleep } from 'node:timers/promises';
import {
  isEngineProblem,
  replicaContainer,
  type SandboxOptions,
} from '@inference-server/container-engine';
import { parseImageReference, refusalOfImage, refusalOfRights } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
import { crashPoint, joinSignals } from '@inference-server/service-kit';
import { requireMounted } from '../model-volume.js';
import { labelNames } from '../names.js';
import { requireImage } from '../run/image.js';
import { fault, notAllowed, type Outcome } from '../run/outcome.js';
import { sandboxUnder } from '../run/sandbox-under.js';
import { createModel, startModel, type OwnVolumes } from '../run/start.js';
import { uncut } from '../uncut.js';
import { joinGateways } from './gateways.js';
import { runtimeModelVolume } from './model-folder.js';
import { lacking } from './replica-end.js';
import { createReplicaNetwork } from './replica-network.js';
import { appPort, type ReplicaRun } from './replica-run.js';
import { removeReplicaTraces } from './replica-traces.js';

/**
 * Has the container of a replica run: its id, or why that cannot be. What it is to have it takes right before the
 * start, when all else is there. A name that is taken is of an earlier try, and a model volume may have been swept
 * away under it: its traces are removed, once.
 */
export async function bringUp(run: ReplicaRun): Promise<string | Outcome> {
  crashPoint('replica_ordered', run.order.id);
  const refusal = refusalUnderPolicy(run);
  if (refusal !== undefined) return refusal;
  const closed = await untilOpen(run);
  if (closed !== undefined) return closed;
  const image = await imageOf(run);
  if ('outcome' in image) return image.outcome;
  try {
    return await make(run, image.sandbox);
  } catch (error) {
    if (!isEngineProblem(error, 'name_in_use', 'in_use', 'volume_absent')) throw error;
    await run.requireLease();
    await removeReplicaTraces(run, run.outOfTime);
    return await make(run, image.sandbox);
  }
}

function refusalUnderPolicy({ order, settings }: ReplicaRun): Outcome | undefined {
  const { container_tag: image, human_readable_id: humanReadableId, rights } = order;
  const forbidden =
    refusalOfImage(settings.policy, image) ??
    refusalOfRights(settings.policy, { humanReadableId, image, rights });
  return forbidden && notAllowed(forbidden);
}

/** A consumer that begins nothing (its engine is away, it is in quarantine) is waited for, not for long. */
async function untilOpen({ member, signal }: ReplicaRun): Promise<Outcome | undefined> {
  const bounds = joinSignals(signal, AbortSignal.timeout(openWithinMs));
  try {
    await member.room.waitUntilOpen(bounds.signal);
    return undefined;
  } catch {
    signal.throwIfAborted();
    // What was not tried tells nothing of engine and device, which are in trouble already.
    return fault(
      'interrupted',
      'Its consumer starts nothing now: its engine or its device is in trouble.',
    );
  } finally {
    bounds.release();
  }
}

async function imageOf(
  run: ReplicaRun,
): Promise<{ sandbox: SandboxOptions } | { outcome: Outcome }> {
  const { engine, order, settings, signal } = run;
  const reference = parseImageReference(order.container_tag).full;
  const image = await requireImage(
    engine,
    {
      reference,
      policy: order.pull_policy,
      credentials: settings.credentialsOf(reference),
      retryMs: settings.imageRetryMs,
    },
    signal,
  );
  if ('kind' in image) return { outcome: image };
  const sandbox = sandboxUnder(settings.policy, image, order.rights);
  return 'kind' in sandbox ? { outcome: sandbox } : { sandbox };
}

async function make(run: ReplicaRun, sandbox: SandboxOptions): Promise<string | Outcome> {
  const { engine, order, own, allotment, hosting, signal } = run;
  const model = await runtimeModelVolume(run, signal);
  crashPoint('replica_model_there', order.id);
  const volumes: OwnVolumes = { [model]: 'model-data' };
  const network = await createReplicaNetwork(engine, own, hosting, signal);
  if (typeof network !== 'string') return network;
  await joinGateways(run, signal);
  crashPoint('replica_network_made', order.id);
  const { network: further, ...rest } = sandbox;
  const spec = replicaContainer({
    name: own.name('replica'),
    image: parseImageReference(order.container_tag).full,
    labels: {
      ...own.labels('replica'),
      [labelNames.modelVersion]: order.model_version_id,
      [labelNames.devices]: allotment.gpus.join(' '),
    },
    ...{ model, port: appPort, network, limits: allotment.limits, gpus: allotment.gpus },
    // In a network of the operator's there may be names to ask for.
    sandbox: { ...rest, knowsNoNames: further === undefined },
  });
  const container = await createModel(run, volumes, async () => {
    await run.requireLease();
    const created = await engine.createContainer(spec, uncut);
    run.unstarted.add(created);
    await requireMounted(engine, created, volumes);
    return created;
  });
  if (typeof container !== 'string') return container;
  // One that its model asks for, and the policy allows.
  if (further !== undefined) await engine.connectContainer(further, container, uncut);
  const none = await takeRoom(run);
  if (none !== undefined) return none;
  await run.requireLease();
  crashPoint('replica_created', order.id);
  const refused = await startModel(run, container, volumes);
  crashPoint('replica_started', order.id);
  return refused ?? container;
}

/** private-api's books say that there is room, so somebody's are wrong: that is no fault of the engine. */
async function takeRoom({ allotment, signal }: ReplicaRun): Promise<Outcome | undefined> {
  try {
    if (await allotment.take(signal)) return undefined;
    return lacking('The cores, the memory or the device for it did not become free in 5 minutes.');
  } catch (error) {
    signal.throwIfAborted();
    return lacking(messageOf(error));
  }
}

/** Rejects with the signal's reason. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}

const openWithinMs = 60_000;
