import type { EngineWatch } from '../world/engine-events.js';

/** Engines of which it is not known what they did: nothing that is counted by their events is proven. */
export function silentEngines(watches: readonly Omit<EngineWatch, 'close'>[]): string[] {
  return watches.flatMap(({ engine, connections, told, heardAt, isListening, failure }) => {
    const last = heardAt === undefined ? 'never' : new Date(heardAt).toISOString();
    const how = `${connections} connections, heard of last: ${last}, ${failure ?? 'no failure'}`;
    return [
      ...(told === 0 ? [`${engine} told of no container: ${how}`] : []),
      ...(isListening ? [] : [`${engine} is not listened to: ${how}`]),
    ];
  });
}
