import type { Logger } from '@inference-server/service-kit';

/** How long one line speaks for those that would follow it (ms): whoever floods the door is not to fill the log. */
const quietMs = 60_000;

/** Tells of connections that are turned away: of the first, and a minute later how many more they were. */
export function createCrowdLog(logger: Logger): () => void {
  let isQuiet = false;
  let connections = 0;

  function tell(): void {
    logger.warn({ connections }, 'connections are turned away: there are too many');
    connections = 0;
    isQuiet = true;
    setTimeout(() => {
      isQuiet = false;
      if (connections > 0) tell();
    }, quietMs).unref();
  }

  return () => {
    connections += 1;
    if (!isQuiet) tell();
  };
}
