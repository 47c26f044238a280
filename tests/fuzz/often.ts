import type fc from 'fast-check';

/** One of several ways, for `fc.oneof`: taken `weight` times as often as one that is given bare. */
export function often<T>(weight: number, arbitrary: fc.Arbitrary<T>) {
  return { weight, arbitrary };
}
