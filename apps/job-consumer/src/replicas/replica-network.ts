import {
  EngineError,
  type ContainerEngine,
  type Network,
} from '@inference-server/container-engine';
import type { ReplicaNames } from '../names.js';
import { uncut } from '../uncut.js';
import { retryPassing } from '../retry.js';
import type { Outcome } from '../run/outcome.js';
import { lacking } from './replica-end.js';
import { freeSubnets } from './subnets.js';

/**
 * Makes the network of a replica, out of the block that is for them: its name, or that no more of that is free. An
 * engine's own pools have room for 30 or so. Throws `name_in_use` where it is there already.
 */
export async function createReplicaNetwork(
  engine: ContainerEngine,
  own: ReplicaNames,
  { subnets }: { subnets: string },
  signal: AbortSignal,
): Promise<string | Outcome> {
  const name = own.name('replica-network');
  const taken = (await engine.listNetworks({}, signal)).flatMap((network) => network.subnets);
  let refused = 0;
  for (const subnet of freeSubnets(subnets, taken, name)) {
    signal.throwIfAborted();
    const network = { name, labels: own.labels('replica-network'), subnet };
    const made = await engine.createNetwork(network, uncut);
    if ('id' in made) return name;
    if (made.taken === 'name') throw new EngineError('name_in_use', `network ${name} is there`);
    // Of another that looked at the same time, or of what no list of networks has.
    if ((refused += 1) === mostRefused) break;
  }
  return lacking(`No subnet of REPLICA_SUBNETS (${subnets}) is free.`);
}

const mostRefused = 50;

/**
 * Whoever is still in it goes before: gateways, whose containers live on. So does who is not running, and whoever
 * waits to be started again goes after: an engine starts nothing again that has a network which is gone. Absent is fine.
 * From the removal on all is repeated here, until `outOfTime`: be it gone, no list of networks leads to it any more.
 */
export async function removeNetwork(
  engine: ContainerEngine,
  { id, name }: Pick<Network, 'id' | 'name'>,
  signal: AbortSignal,
  outOfTime = signal,
): Promise<void> {
  const found = await engine.inspectNetwork(id, signal);
  const members = await engine.listMembers(id, signal);
  for (const container of new Set([...(found?.containers ?? []), ...members])) {
    await engine.disconnectContainer(id, container, signal);
  }
  const removeAndRelease = async () => {
    await engine.removeNetwork(id, signal);
    for (const container of await engine.listMembers(id, signal)) {
      await engine.disconnectContainer(name, container, signal);
    }
  };
  await retryPassing(removeAndRelease, { signal: outOfTime, forMs: giveUpAfterMs });
}

const giveUpAfterMs = 10_000;
