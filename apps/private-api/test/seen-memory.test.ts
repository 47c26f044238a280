import { expect, it } from 'vitest';
import type { Capacity, Needs } from '@inference-server/contracts';
import { needs } from '@inference-server/testing';
import { withSeenMemory } from '../src/dispatcher/seen-memory.js';
import { cpu, gpu } from './capacities.js';

const greedy = needs({ use_gpu: true, gpu_memory_mib: 10, gpu_memory_exceeded: true });
const pair = { ...greedy, gpu_count: 2 };
const labelled = { ...greedy, labels: { site: 'lab' } };

it.each<[string, Needs, number | null, Capacity[], number | null]>([
  ['as much as was seen', greedy, 30, [gpu(20), gpu(40)], 30],
  ['as much as was seen, where all of one has just that', greedy, 30, [gpu(20), gpu(30)], 30],
  ['as the largest have, where none has so much', greedy, 50, [gpu(20), gpu(40), cpu()], 40],
  [
    'as was seen, where one may have it of which nobody knows',
    greedy,
    50,
    [gpu(20), gpu(null)],
    50,
  ],
  ['as the largest pair has', pair, 50, [gpu(80), gpu(40), gpu(40)], 40],
  [
    'as the largest has that could run it',
    labelled,
    50,
    [gpu(40), gpu(20, { labels: { site: 'lab' } })],
    20,
  ],
  ['what it says, where nobody could run it', greedy, 50, [gpu(5)], 10],
  [
    'what it says, while no run has taken more',
    { ...greedy, gpu_memory_exceeded: false },
    9,
    [gpu(5)],
    10,
  ],
  ['nothing, where it says nothing', needs({ use_gpu: true }), 30, [gpu(20), gpu(40)], null],
])('a model needs %s', (_what, of, peak, there, mib) => {
  expect(withSeenMemory(of, peak, there)).toEqual({ ...of, gpu_memory_mib: mib });
});
