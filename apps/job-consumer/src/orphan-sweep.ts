import Value from 'typebox/value';
import {
  hasEnded,
  isEngineProblem,
  type ContainerEngine,
  type Labels,
} from '@inference-server/container-engine';
import { ConsumerId, maxConsumerIds } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import { nothing, type Amount, type Logger, type Sweep } from '@inference-server/service-kit';
import { isComplete } from './model-volume.js';
import { labelNames, type Kind, type Names } from './names.js';
import type { PrivateApiClient } from './private-api-client.js';
import { removeNetwork } from './replicas/replica-network.js';

export interface OrphanSweepDeps {
  engine: ContainerEngine;
  names: Names;
  api: Pick<PrivateApiClient, 'goneConsumers'>;
  logger: Logger;
}

/** A container, volume or network of a consumer that is gone. */
interface Orphan {
  named: { container: string } | { volume: string } | { network: string };
  consumer: string;
  /** Of a volume, where the engine can tell. */
  bytes: number | undefined;
  remove(signal: AbortSignal): Promise<void>;
}

/**
 * Containers, volumes and networks that consumers which are gone for good have left in the engine. `own` removes
 * its own itself (reconciliation.ts). What tells of GPUs sleeps for an hour at most, and goes when it has ended.
 *
 * First what is there is listed, then private-api is asked whose it is, then what was listed goes, and
 * nothing else. In this order it is safe beside a consumer that returns: whatever it had made by the
 * time of the list was made for an attempt that it had claimed before; that attempt was neither open
 * nor could it be resumed when private-api answered, and such a one never goes on. (But for a probe:
 * that is tried again.) What it makes from then on is not in the list: containers go by their ids, and
 * the names of volumes are of an attempt, or random. Asked first and listed then, the volumes of its
 * next attempt would go.
 *
 * Complete model volumes belong to all, and stay. One that is completed after the look at its marker,
 * and then goes, is found missing by whoever wants to use it (see model-volume.ts).
 */
export function sweepOrphans(deps: OrphanSweepDeps, own: string | undefined): Sweep {
  const { engine, names, logger } = deps;
  const toldOf = new Set<string>();

  const find = async (signal: AbortSignal): Promise<Orphan[]> => {
    const ofOthers = ({ labels }: { labels: Labels }) =>
      ![undefined, own].includes(ownerOf(labels));
    const all = (await engine.listContainers(names.installation, signal)).filter(ofOthers);
    // Of a process, not of a consumer: of use as long as it runs.
    const done = all.filter((one) => isDiscovery(one) && hasEnded(one.state));
    const containers = all.filter((one) => !isDiscovery(one));
    const volumes = (await engine.listVolumes(names.installation, signal)).filter(ofOthers);
    const networks = (await engine.listNetworks(names.installation, signal)).filter(ofOthers);
    const owners = new Set(
      [...containers, ...volumes, ...networks].map(({ labels }) => ownerOf(labels) ?? ''),
    );
    const gone = await askForGone(owners, signal);
    const useless = [...done, ...containers.filter(isOf(gone))];
    const orphans = useless.map(({ id, name, labels }): Orphan => ({
      named: { container: name },
      consumer: ownerOf(labels) ?? '',
      bytes: undefined,
      remove: (bounds) => engine.removeContainer(id, bounds),
    }));
    const left = volumes.filter(isOf(gone));
    const sizes = left.length === 0 ? undefined : await engine.measureVolumes(signal);
    for (const { name, labels } of left) {
      const version = labels[labelNames.modelVersion];
      if (version !== undefined && (await isComplete(deps, version, name, signal))) continue;
      orphans.push({
        named: { volume: name },
        consumer: ownerOf(labels) ?? '',
        bytes: sizes?.get(name),
        remove: (bounds) => engine.removeVolume(name, bounds),
      });
    }
    for (const network of networks.filter(isOf(gone))) {
      orphans.push({
        named: { network: network.name },
        consumer: ownerOf(network.labels) ?? '',
        bytes: undefined,
        remove: (bounds) => removeNetwork(engine, network, bounds),
      });
    }
    return orphans;
  };

  /** Throws CONFLICT when private-api is another installation's by now: it knows nothing of ours. */
  const askForGone = async (owners: Set<string>, signal: AbortSignal): Promise<Set<string>> => {
    const asked = [...owners].filter(isConsumerId);
    const unknown = [...owners].filter((id) => !isConsumerId(id));
    const gone = new Set<string>();
    for (let at = 0; at < asked.length; at += maxConsumerIds) {
      const answer = await deps.api.goneConsumers(asked.slice(at, at + maxConsumerIds), signal);
      if (answer.installation_id !== names.installation[labelNames.installation]) {
        throw new AppError('CONFLICT', 'private-api belongs to another installation now.');
      }
      for (const id of answer.gone) gone.add(id);
      unknown.push(...answer.unknown);
    }
    for (const id of unknown) {
      if (!toldOf.has(id)) {
        logger.warn({ of: id }, 'private-api does not know this consumer: what is its own stays');
      }
      toldOf.add(id);
    }
    return gone;
  };

  /** False when it stays for now: in use, or a container that the engine cannot end. */
  const remove = async (orphan: Orphan, signal: AbortSignal): Promise<boolean> => {
    const { named, consumer, bytes } = orphan;
    try {
      await orphan.remove(signal);
      logger.info({ ...named, of: consumer, bytes }, 'removed an orphan');
      return true;
    } catch (error) {
      if (signal.aborted || isEngineProblem(error, 'unreachable')) throw error;
      logger.warn({ ...named, of: consumer, reason: messageOf(error) }, 'an orphan stays');
      return false;
    }
  };

  return {
    name: 'orphans',
    what: 'containers, volumes and networks of consumers that are gone for good',
    look: async (signal) => (await find(signal)).reduce(add, nothing),
    async take(signal) {
      let taken = nothing;
      for (const orphan of await find(signal)) {
        if (await remove(orphan, signal)) taken = add(taken, orphan);
      }
      return { ...taken, more: false };
    },
  };
}

function ownerOf(labels: Labels): string | undefined {
  return labels[labelNames.consumer];
}

function isDiscovery({ labels }: { labels: Labels }): boolean {
  return labels[labelNames.kind] === ('discovery' satisfies Kind);
}

function isConsumerId(id: string): boolean {
  return Value.Check(ConsumerId, id);
}

function isOf(consumers: ReadonlySet<string>) {
  return ({ labels }: { labels: Labels }): boolean => consumers.has(ownerOf(labels) ?? '');
}

function add({ count, bytes }: Amount, orphan: Pick<Orphan, 'bytes'>): Amount {
  return { count: count + 1, bytes: bytes + (orphan.bytes ?? 0) };
}
