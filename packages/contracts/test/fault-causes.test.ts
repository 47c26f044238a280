import { describe, expect, it } from 'vitest';
import { backOffAfter, faultCauses, maxBackOffS, type FaultCause } from '../src/index.js';

describe('the pause after a fault', () => {
  it('doubles, and ends at 300 s', () => {
    const pauses = [1, 2, 3, 4, 5, 50].map((faults) => backOffAfter('registry_away', faults));
    expect(pauses).toEqual([30, 60, 120, 240, 300, 300]);
    expect(maxBackOffS).toBe(300);
  });

  it('is none where the next consumer can begin at once', () => {
    const causes = Object.keys(faultCauses) as FaultCause[];
    const without = causes.filter((cause) => backOffAfter(cause, 3) === 0);
    expect(without).toEqual(['consumer_restarted', 'lease_lost']);
  });
});
