/** NaN for no values. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The hundredths of the values: they tell as much as all of them. */
export function hundredths(values: readonly number[]): number[] {
  return Array.from({ length: 100 }, (_, share) => quantile(values, share / 100));
}

/** The value below which `share` (0 to 1) of the values lie, between neighbours in proportion. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}
