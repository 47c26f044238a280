/** When a probe is made of what is quarantined. Pure. */
export interface QuarantinePauses {
  /** Before the first probe; `before`: the quarantine before it, if there was one. */
  first(before: EndedQuarantine | undefined): number;
  /** Before the next one, after one that failed. */
  next(pauseMs: number): number;
}

export interface EndedQuarantine {
  firstPauseMs: number;
  /** How long ago it ended. */
  endedMsAgo: number;
}

/**
 * From `shortestMs` on each pause is twice as long as the one before, up to ten times as much. So are the first
 * ones of quarantines that come soon after each other: a device that passes its probes and fails its runs all
 * the same gets fewer and fewer of them. Soon is within as long as ten of the longest pauses.
 */
export function quarantinePauses(shortestMs: number): QuarantinePauses {
  const longestMs = 10 * shortestMs;
  const next = (pauseMs: number) => Math.min(Math.max(2 * pauseMs, shortestMs), longestMs);
  return {
    next,
    first: (before) =>
      before === undefined || before.endedMsAgo > 10 * longestMs
        ? shortestMs
        : next(before.firstPauseMs),
  };
}
