import type { ContainerEngine, Labels } from '@inference-server/container-engine';
import type { Logger } from '@inference-server/service-kit';
import { mayBeOfAll } from '../leftovers.js';
import { labelNames, type Kind, type Names } from '../names.js';

/** What the engine has of a replica. */
export interface FoundReplica {
  id: string;
  /** The one that runs its model, or ran it: by id. Undefined: it was never started, or there is none. */
  container: string | undefined;
}

/** The replicas of this consumer of which the engine has anything; what is of another consumer is not even looked at. */
export async function findReplicas(
  { engine, names, logger }: { engine: ContainerEngine; names: Names; logger: Logger },
  signal: AbortSignal,
): Promise<FoundReplica[]> {
  const found = new Map<string, FoundReplica>();
  const note = ({ labels }: { labels: Labels }): FoundReplica | undefined => {
    const id = labels[labelNames.replica];
    if (id === undefined) return undefined;
    const replica = found.get(id) ?? { id, container: undefined };
    found.set(id, replica);
    return replica;
  };
  for (const container of await engine.listContainers(names.own, signal)) {
    const replica = note(container);
    const isOfModel = container.labels[labelNames.kind] === ('replica' satisfies Kind);
    const wasStarted = container.state !== 'created';
    if (replica !== undefined && isOfModel && wasStarted) replica.container = container.id;
  }
  for (const volume of await engine.listVolumes(names.own, signal)) {
    const { [labelNames.modelVersion]: version, [labelNames.replica]: replica } = volume.labels;
    if (replica === undefined) continue;
    const deps = { engine, names, logger };
    const isOfAll = version !== undefined && (await mayBeOfAll(deps, version, volume.name, signal));
    if (!isOfAll) note(volume);
  }
  for (const network of await engine.listNetworks(names.own, signal)) note(network);
  return [...found.values()];
}
