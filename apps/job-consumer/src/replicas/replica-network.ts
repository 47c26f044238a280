import {
  EngineError,
  isEngineProblem,
  type ContainerEngine,
} from '@inference-server/container-engine';
import type { ReplicaNames } from '../names.js';
import { uncut } from '../uncut.js';
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

/** Whoever is still in it goes before: gateways, whose containers live on. Absent is fine. */
export async function removeNetwork(
  engine: ContainerEngine,
  network: string,
  signal: AbortSignal,
): Promise<void> {
  const found = await engine.inspectNetwork(network, signal);
  for (const container of found?.containers ?? []) {
    await engine.disconnectContainer(network, container, signal);
  }
  await engine.removeNetwork(network, signal);
}

/**
 * Has the gateways in the networks of replicas: one that was made anew since is in none. Those that do not run are
 * answered, and waited for.
 */
export async function connectGateways(
  engine: ContainerEngine,
  networks: readonly string[],
  gateways: readonly string[],
  signal: AbortSignal,
): Promise<string[]> {
  const absent: string[] = [];
  for (const gateway of gateways) {
    const found = await engine.inspectContainer(gateway, signal);
    if (found?.state !== 'running') {
      absent.push(gateway);
      continue;
    }
    for (const network of networks.filter((name) => !(name in found.addresses))) {
      try {
        await engine.connectContainer(network, gateway, signal);
      } catch (error) {
        // Its replica, or it, is being removed.
        if (!isEngineProblem(error, 'network_absent', 'container_absent')) throw error;
      }
    }
  }
  return absent;
}
