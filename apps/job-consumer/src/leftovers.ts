import {
  hasEnded,
  isEngineProblem,
  type ContainerEngine,
  type Labels,
} from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import { joinSignals, type Logger } from '@inference-server/service-kit';
import type { Ticket } from '@inference-server/task-queue';
import { isOn, type Device } from './devices/find-devices.js';
import { isComplete } from './model-volume.js';
import { labelNames, type Kind, type Names } from './names.js';
import type { Holder } from './ticket-key.js';

/** A container or volume that carries this consumer's labels. */
export interface OwnThing {
  named: { container: string } | { volume: string };
  name: string;
  /** Whose it is; undefined: of no attempt (the probe of a quarantine). */
  attempt: Ticket | undefined;
  /** A container that has what it was given. */
  isRunning: boolean;
  remove(signal: AbortSignal): Promise<void>;
}

/**
 * All that the engine has of this consumer, but what is of its replicas, and model volumes that are complete: these belong to all.
 * One of which the engine cannot tell whether it is stays for now, and is left out. Whatever is of
 * another installation or consumer is not even looked at.
 */
export async function listOwn(
  { engine, names, logger }: { engine: ContainerEngine; names: Names; logger: Logger },
  signal: AbortSignal,
): Promise<OwnThing[]> {
  const containers = await engine.listContainers(names.own, signal);
  const things = containers.filter(isOfNoReplica).map(({ id, name, labels, state }): OwnThing => ({
    named: { container: name },
    name,
    attempt: attemptOf(labels),
    isRunning: state !== 'created' && !hasEnded(state),
    remove: (bounds) => engine.removeContainer(id, bounds),
  }));
  for (const { name, labels } of await engine.listVolumes(names.own, signal)) {
    if (!isOfNoReplica({ labels })) continue;
    const version = labels[labelNames.modelVersion];
    const deps = { engine, names, logger };
    if (version !== undefined && (await mayBeOfAll(deps, version, name, signal))) continue;
    things.push({
      named: { volume: name },
      name,
      attempt: attemptOf(labels),
      isRunning: false,
      remove: (bounds) => engine.removeVolume(name, bounds),
    });
  }
  return things;
}

/** Whether a model volume is complete, or nobody can tell: then it is looked at another time. */
export async function mayBeOfAll(
  { logger, ...deps }: { engine: ContainerEngine; names: Names; logger: Logger },
  version: string,
  volume: string,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return await isComplete(deps, version, volume, signal);
  } catch (error) {
    if (signal.aborted || isEngineProblem(error, 'unreachable')) throw error;
    logger.warn({ volume, reason: messageOf(error) }, 'a volume could not be judged');
    return true;
  }
}

/** The attempts and replicas of other consumers, of whatever process and by whatever name, whose containers run on this device. */
export async function listOthersOn(
  { engine, names }: { engine: ContainerEngine; names: Names },
  device: Device,
  signal: AbortSignal,
): Promise<Holder[]> {
  const kinds: Kind[] = ['run', 'replica'];
  const found = await Promise.all(
    kinds.map((kind) => engine.listContainers(names.ofAll(kind), signal)),
  );
  return found
    .flat()
    .filter(({ state }) => state !== 'created' && !hasEnded(state))
    .filter(({ labels }) => labels[labelNames.consumer] !== names.own[labelNames.consumer])
    .filter(({ labels }) =>
      labels[labelNames.devices]?.split(' ').some((name) => isOn(device, name)),
    )
    .flatMap(({ labels }): Holder | [] => {
      const replica = labels[labelNames.replica];
      return replica === undefined ? (attemptOf(labels) ?? []) : { replica };
    });
}

/**
 * Removes the containers among them, then the volumes; returns those that stay for now: in use, or the
 * engine cannot end it, or not soon. Throws when the signal aborts.
 */
export async function removeLeftovers(
  things: readonly OwnThing[],
  logger: Logger,
  signal: AbortSignal,
): Promise<OwnThing[]> {
  const stay: OwnThing[] = [];
  const removeOne = async (thing: OwnThing): Promise<void> => {
    const { named, remove } = thing;
    const bounds = joinSignals(signal, AbortSignal.timeout(removalMs));
    try {
      await remove(bounds.signal);
      logger.info(named, 'removed a leftover');
    } catch (error) {
      logger.warn({ ...named, reason: messageOf(error) }, 'a leftover stays');
      stay.push(thing);
    } finally {
      bounds.release();
    }
  };
  // A volume stays as long as a container has it.
  for (const kind of ['container', 'volume']) {
    signal.throwIfAborted();
    await Promise.all(things.filter(({ named }) => kind in named).map(removeOne));
  }
  signal.throwIfAborted();
  return stay;
}

/** An engine that takes longer goes on with it by itself; the next look finds what became of it. */
const removalMs = 15_000;

/** These are their host's to remove, see replicas/hosting.ts. */
function isOfNoReplica({ labels }: { labels: Labels }): boolean {
  return labels[labelNames.replica] === undefined;
}

function attemptOf(labels: Labels): Ticket | undefined {
  const taskUid = labels[labelNames.task];
  if (taskUid === undefined) return undefined;
  return { taskUid, attempt: Number(labels[labelNames.attempt]) };
}
