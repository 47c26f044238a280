import type { ModelContract } from '@inference-server/contracts';

/**
 * The contracts of versions, which never change: each is read once, and not with every look at the replicas,
 * since one may be of hundreds of KiB. Those of versions that are not asked for any more are forgotten.
 */
export function createKnownContracts(
  read: (versionIds: readonly string[]) => Promise<{ id: string; contract: ModelContract }[]>,
): (versionIds: ReadonlySet<string>) => Promise<ReadonlyMap<string, ModelContract>> {
  const known = new Map<string, ModelContract>();
  return async (versionIds) => {
    const missing = [...versionIds].filter((id) => !known.has(id));
    if (missing.length > 0) {
      for (const { id, contract } of await read(missing)) known.set(id, contract);
    }
    for (const id of known.keys()) if (!versionIds.has(id)) known.delete(id);
    return known;
  };
}
