import { expect, it } from 'vitest';
import { needs } from '@inference-server/testing';
import * as has from './capacities.js';
import { planOf, replica, version } from './replica-world.js';

it('a pass over thousands of models takes a moment', () => {
  const share = { cpus: 8, memory_mib: 1_000, cpus_per_task: null, memory_per_task_mib: 250 };
  const consumers = Array.from({ length: 20 }, (_, n) => ({ id: `c${n}`, ...has.cpu({ share }) }));
  const small = needs({ memory_mib: 10 });
  const versions = Array.from({ length: 2_000 }, (_, n) =>
    version(`v${n}`, { waiting: n % 2, needs: small }),
  );
  const replicas = versions
    .filter((_, n) => n % 2 === 0)
    .map((of, n) => replica(`r${n}`, of, `c${n % 20}`));
  const began = performance.now();
  // The other thousand.
  expect(planOf({ versions, replicas, consumers }).starts).toHaveLength(1_000);
  // A fifth of a second, or minutes where each model looks through all of them.
  expect(performance.now() - began).toBeLessThan(5_000);
});
