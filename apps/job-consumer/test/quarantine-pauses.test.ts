import { expect, it } from 'vitest';
import { createLogger } from '@inference-server/service-kit';
import { quarantinePauses } from '../src/quarantine-pauses.js';
import { createQuarantine } from '../src/quarantine.js';

it.each([
  ['the first time', undefined, 60],
  ['soon after one', { firstPauseMs: 60, endedMsAgo: 0 }, 120],
  ['soon after one that came soon after one', { firstPauseMs: 120, endedMsAgo: 1_000 }, 240],
  ['no longer than the longest', { firstPauseMs: 480, endedMsAgo: 1 }, 600],
  ['nor ever after that', { firstPauseMs: 600, endedMsAgo: 1 }, 600],
  ['at the end of what is soon', { firstPauseMs: 60, endedMsAgo: 6_000 }, 120],
  ['after it', { firstPauseMs: 600, endedMsAgo: 6_001 }, 60],
])('a quarantine begins with a pause: %s', (_when, before, pauseMs) => {
  expect(quarantinePauses(60).first(before)).toBe(pauseMs);
});

it.each([
  [0, 60],
  [60, 120],
  [400, 600],
  [600, 600],
])('a probe that fails after %s is followed by one after %s', (pauseMs, next) => {
  expect(quarantinePauses(60).next(pauseMs)).toBe(next);
});

it('a device that fails again soon stays away for longer each time, though its probes pass', async () => {
  const { quarantine, probes } = open({ pauseMs: 100 });
  const leastMs = [100, 200, 400];
  for (const least of leastMs) {
    const since = performance.now();
    quarantine.accuse('lost');
    await expect.poll(() => quarantine.reason, { timeout: 5_000 }).toBeUndefined();
    // A timer may be early by a fraction.
    expect(performance.now() - since).toBeGreaterThan(least - 5);
  }
  expect(probes).toHaveLength(leastMs.length);
  await quarantine.close();
});

it('a device that is only looked at is away as long as any other once it is accused', async () => {
  const { quarantine, probes } = open({ pauseMs: 300, holds: true });
  quarantine.suspect('a container has lost it');
  await expect.poll(() => probes.length).toBe(1);
  quarantine.accuse('nvidia-smi knows it no more');
  expect(quarantine.reason).toBe('nvidia-smi knows it no more');
  const since = performance.now();
  probes[0]?.();
  await expect.poll(() => probes.length, { timeout: 5_000 }).toBe(2);
  expect(performance.now() - since).toBeGreaterThan(295);
  expect(quarantine.reason).toBe('nvidia-smi knows it no more');
  // Of the same trouble: it changes nothing.
  quarantine.accuse('again');
  probes[1]?.();
  await expect.poll(() => quarantine.reason).toBeUndefined();
  expect(probes).toHaveLength(2);
  await quarantine.close();
});

/** Whose probes pass, where it `holds` them once the test lets them. */
function open({ pauseMs, holds = false }: { pauseMs: number; holds?: boolean }) {
  const probes: (() => void)[] = [];
  const quarantine = createQuarantine({
    ...{ after: 3, pauseMs, onChange: () => undefined, logger: createLogger('test', 'silent') },
    probe: () =>
      new Promise((resolve) => {
        probes.push(resolve);
        if (!holds) resolve();
      }),
  });
  return { quarantine, probes };
}
