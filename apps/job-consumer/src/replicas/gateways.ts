import { setTimeout as sleep } from 'node:timers/promises';
import {
  isEngineProblem,
  type ContainerDetails,
  type ContainerEngine,
} from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import type { Life, ReplicaDeps } from './replica-run.js';

/**
 * Looks, again and again, that the gateways are in the networks of replicas: one that was made anew since is in none.
 * One that does not run is waited for, and so is one of which an engine does not tell, or that it does not take into
 * a network: none keeps up the others, and each is told of once. Resolves when the signal aborts.
 */
export async function keepGateways(
  {
    engine,
    engineWatch,
    hosting: { gateways },
    logger,
  }: Pick<ReplicaDeps, 'engine' | 'hosting' | 'logger'> & {
    engineWatch: ReplicaDeps['engineWatch'] & { readonly isReady: boolean };
  },
  /** Those that they are to be in now; one may be gone, or not be made yet. */
  networks: () => string[],
  signal: AbortSignal,
): Promise<void> {
  const isOver = () => signal.aborted;
  let absentBefore: string[] = [];
  let outsideBefore = new Set<string>();
  while (gateways.length > 0 && !isOver()) {
    try {
      if (engineWatch.isReady) {
        const { absent, outside } = await connectGateways(engine, networks(), gateways, signal);
        const gone = absent.filter((gateway) => !absentBefore.includes(gateway));
        if (gone.length > 0) logger.warn({ gateways: gone }, 'gateways do not run on this engine');
        absentBefore = absent;
        for (const { gateway, network, error } of outside) {
          engineWatch.suspect(error);
          if (outsideBefore.has(`${gateway} ${network}`)) continue;
          const reason = messageOf(error);
          if (network === '') logger.warn({ gateway, reason }, 'a gateway cannot be looked at');
          else
            logger.warn(
              { gateway, network, reason },
              'a gateway is not in the network of a replica',
            );
        }
        outsideBefore = new Set(outside.map(({ gateway, network }) => `${gateway} ${network}`));
      }
    } catch (error) {
      if (!isOver()) engineWatch.suspect(error);
    }
    await sleep(lookMs, undefined, { signal }).catch(() => undefined);
  }
}

/** Has them in the network of one replica, as far as that can be had now: the rest is looked after again. */
export async function joinGateways(
  { engine, engineWatch, own, hosting }: Pick<Life, 'engine' | 'engineWatch' | 'own' | 'hosting'>,
  signal: AbortSignal,
): Promise<void> {
  const network = own.name('replica-network');
  try {
    const { outside } = await connectGateways(engine, [network], hosting.gateways, signal);
    for (const { error } of outside) engineWatch.suspect(error);
  } catch (error) {
    // An engine that is away shows with what follows.
    signal.throwIfAborted();
    engineWatch.suspect(error);
  }
}

interface Membership {
  /** Those that do not run. */
  absent: string[];
  /** Who could not be had in which network; '': who could not be looked at. */
  outside: { gateway: string; network: string; error: unknown }[];
}

async function connectGateways(
  engine: ContainerEngine,
  networks: readonly string[],
  gateways: readonly string[],
  signal: AbortSignal,
): Promise<Membership> {
  const absent: string[] = [];
  const outside: Membership['outside'] = [];
  for (const gateway of gateways) {
    let found: ContainerDetails | undefined;
    try {
      found = await engine.inspectContainer(gateway, signal);
    } catch (error) {
      if (signal.aborted || isEngineProblem(error, 'unreachable')) throw error;
      outside.push({ gateway, network: '', error });
      continue;
    }
    if (found?.state !== 'running') {
      absent.push(gateway);
      continue;
    }
    for (const network of networks.filter((name) => !(name in found.addresses))) {
      try {
        await engine.connectContainer(network, gateway, signal);
      } catch (error) {
        if (signal.aborted || isEngineProblem(error, 'unreachable')) throw error;
        // Its replica, or it, is being removed.
        if (isEngineProblem(error, 'network_absent', 'container_absent')) continue;
        outside.push({ gateway, network, error });
      }
    }
  }
  return { absent, outside };
}

const lookMs = 10_000;
