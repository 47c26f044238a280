import type { Logger } from '@inference-server/service-kit';

/** How long one line speaks for those that would follow it (ms): whoever floods the door is not to fill the log. */
const quietMs = 60_000;

/** Tells of connections that are turned away: of the first, and from then on how many they were since. */
export function createCrowdLog(logger: Logger): () => void {
  let toldAt = -Infinity;
  let connections = 0;
  return () => {
    connections += 1;
    const now = performance.now();
    if (now - toldAt < quietMs) return;
    logger.warn({ connections }, 'connections are turned away: there are too many');
    toldAt = now;
    connections = 0;
  };
}
