import type { ContainerEvent } from '../world/engine-events.js';

/** Where a consumer had more models' containers running at once than it has slots. */
export function slotOveruse(
  events: readonly ContainerEvent[],
  slotsOf: (consumerId: string) => number,
): string[] {
  const running = new Map<string, Set<string>>();
  const most = new Map<string, number>();
  const byTime = [...events].sort((a, b) => Number(BigInt(a.timeNano) - BigInt(b.timeNano)));
  for (const { action, kind, container, consumer } of byTime) {
    if (kind !== 'run') continue;
    const own = running.get(consumer) ?? new Set();
    running.set(consumer, own);
    if (action === 'start') own.add(container);
    if (action === 'die' || action === 'destroy') own.delete(container);
    most.set(consumer, Math.max(most.get(consumer) ?? 0, own.size));
  }
  return [...most]
    .filter(([consumer, count]) => count > slotsOf(consumer))
    .map(([consumer, count]) => `${consumer}: ${count} at once, ${slotsOf(consumer)} slots`);
}
