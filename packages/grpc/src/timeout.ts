const unitsMs: Record<string, number> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** The milliseconds of a `grpc-timeout`; undefined: it is out of form. */
export function readTimeout(text: string): number | undefined {
  const [, digits = '', unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(text) ?? [];
  const unitMs = unitsMs[unit];
  return unitMs === undefined ? undefined : Number(digits) * unitMs;
}

/** At most eight digits: longer times are said in larger units, and rounded up. */
export function writeTimeout(timeoutMs: number): string {
  const leftMs = Math.max(timeoutMs, 0);
  for (const [unit, unitMs] of [
    ['u', 1e-3],
    ['m', 1],
    ['S', 1_000],
    ['M', 60_000],
  ] as const) {
    const count = Math.ceil(leftMs / unitMs);
    if (count < 1e8) return `${count}${unit}`;
  }
  return `${Math.min(Math.ceil(leftMs / 3_600_000), 99_999_999)}H`;
}

/** setTimeout takes no longer time: it would end at once. */
const longestMs = 2 ** 31 - 1;

/** Calls `onOver` at `at` (performance.now()), however far that is; gives what stops it. */
export function onceAt(at: number, onOver: () => void): () => void {
  let timer: NodeJS.Timeout;
  const wait = () => {
    const leftMs = at - performance.now();
    timer =
      leftMs > longestMs ? setTimeout(wait, longestMs) : setTimeout(onOver, Math.max(leftMs, 0));
  };
  wait();
  return () => clearTimeout(timer);
}
