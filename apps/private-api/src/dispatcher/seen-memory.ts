import { couldRun, isFor, type Capacity, type Needs } from '@inference-server/contracts';

/**
 * What a model needs that was seen to take more of a GPU than it says: as much as was seen, or as much as the
 * largest have that could run it, where none of those that are there has so much. Pure.
 */
export function withSeenMemory(
  needs: Needs,
  peakMib: number | null,
  there: readonly Capacity[],
): Needs {
  if (!needs.gpu_memory_exceeded || peakMib === null) return needs;
  const sizes = there
    .filter((consumer) => isFor(needs, consumer))
    .flatMap(({ device }) => device?.memory_mib ?? [])
    .filter((mib) => mib < peakMib)
    .toSorted((a, b) => b - a);
  const asSeen = [peakMib, ...sizes].map((mib) => ({ ...needs, gpu_memory_mib: mib }));
  return asSeen.find((wanted) => couldRun(wanted, there)) ?? needs;
}
