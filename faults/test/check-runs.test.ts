import { describe, expect, it } from 'vitest';
import { checkRuns } from '../src/checks/check-runs.js';
import type { AttemptRow, Excuse } from '../src/checks/excuses.js';
import type { TaskPlan } from '../src/load/task-kinds.js';
import type { ContainerEvent } from '../src/world/engine-events.js';

const consumer = 'job-consumer-a';
const gpuConsumer = 'job-consumer-gpu-gpu-6f1c2a3b';
const start = event({ action: 'start' });
const end = event({ action: 'die', exitCode: 0 });
const oom = event({ action: 'oom' });

describe('a run that fits', () => {
  it.each<[string, Told]>([
    ['is started and ends', {}],
    ['has no code, for it was lost', { run: { exitCode: null }, events: [start] }],
    ['never was', { run: { exitCode: null }, events: [] }],
    [
      'ends as the model wants',
      { run: { exitCode: 3, outcome: 'failed' }, events: [start, { ...end, exitCode: 3 }] },
    ],
    ['runs out of memory', { kind: 'child out of memory, exit 0', events: [start, oom, end] }],
    ['is cancelled before it does', { kind: 'out of memory', run: { outcome: 'cancelled' } }],
    ['is on the GPU', { model: 'gpu', consumer: gpuConsumer }],
  ])('%s', (_what, told) => {
    expect(untold(told)).toEqual([]);
  });

  it('is counted', () => {
    expect(check({}).runs).toBe(1);
    expect(check({ run: { exitCode: null } }).runs).toBe(0);
  });

  it('may have an end of which nobody tells, where its engine was away', () => {
    const told: Told = { kind: 'out of memory', events: [start] };
    const [first] = untold(told);
    expect(first).toContain('its engine tells of no end');
    const excuse: Excuse = { fault: 'a kill', consumers: [consumer], from: 1_500, until: 3_000 };
    expect(untold({ ...told, excuses: [excuse] })).toEqual([]);
    expect(untold({ ...told, excuses: [{ ...excuse, isOf: 'lapsed leases' }] })).not.toEqual([]);
    expect(
      untold({ ...told, excuses: [{ ...excuse, consumers: ['job-consumer-b'] }] }),
    ).not.toEqual([]);
    expect(untold({ ...told, excuses: [{ ...excuse, from: 2_001 }] })).not.toEqual([]);
    expect(untold({ ...told, run: { exitCode: 255 } })).toEqual([]);
  });
});

describe('an event of memory that was not heard', () => {
  const told: Told = { kind: 'out of memory', events: [start, { ...end, exitCode: 137 }] };
  const failed = { exitCode: 137, outcome: 'failed' };

  it('is counted where the row knows of it', () => {
    const { memory, untold: found } = check({
      ...told,
      run: { ...failed, reason: 'out_of_memory' },
    });
    expect(memory).toEqual({ runs: 1, unheard: [expect.stringContaining('out of memory')] });
    expect(found).toEqual([]);
  });

  it('is a finding where it does not', () => {
    const { memory, untold: found } = check({ ...told, run: { ...failed, reason: 'exit_code' } });
    expect(memory).toEqual({ runs: 0, unheard: [] });
    expect(found).toEqual([expect.stringContaining('no process of it was out of memory')]);
  });
});

describe('finds', () => {
  it.each<[string, Told, string]>([
    ['a run of which no engine tells', { events: [end] }, 'was started 0 times'],
    ['one that was started twice', { events: [start, start, end] }, 'was started 2 times'],
    [
      'a start of another attempt alone',
      { events: [{ ...start, attempt: 2 }, end] },
      'started 0 times',
    ],
    [
      'a start of something else alone',
      { events: [{ ...start, kind: 'stage' }, end] },
      'started 0 times',
    ],
    [
      'one of another consumer',
      { events: [{ ...start, consumer: 'job-consumer-b' }, end] },
      `is of ${consumer}, not of job-consumer-b`,
    ],
    ['another code', { events: [start, { ...end, exitCode: 9 }] }, 'its engine tells of 9'],
    ['no end', { events: [start] }, 'its engine tells of no end'],
    [
      'one that was to run out of memory',
      { kind: 'out of memory' },
      'no process of it was out of memory',
    ],
    [
      'one on the GPU that wants none',
      { consumer: gpuConsumer },
      'of the model script was started by',
    ],
    ['one elsewhere that wants it', { model: 'gpu' }, 'of the model gpu was started by'],
  ])('%s', (_what, told, text) => {
    expect(untold(told)).toEqual([expect.stringContaining(text)]);
  });
});

interface Told extends Partial<Pick<TaskPlan, 'kind' | 'model'>> {
  run?: Partial<AttemptRow>;
  events?: readonly ContainerEvent[];
  consumer?: string;
  excuses?: readonly Excuse[];
}

function untold(told: Told): string[] {
  return check(told).untold;
}

function check({ run, events = [start, end], kind = 'quick', model = 'script', ...told }: Told) {
  const attempt: AttemptRow = {
    uid: 'uid',
    number: 1,
    consumerId: told.consumer ?? consumer,
    outcome: 'finished',
    reason: null,
    detail: null,
    exitCode: 0,
    from: 1_000,
    until: 2_000,
    ...run,
  };
  const all =
    told.consumer === undefined
      ? events
      : events.map((one) => ({ ...one, consumer: told.consumer ?? '' }));
  return checkRuns([attempt], new Map([['uid', { kind, model }]]), all, told.excuses ?? []);
}

function event(more: Pick<ContainerEvent, 'action'> & Partial<ContainerEvent>): ContainerEvent {
  return {
    engine: 'engine-a',
    container: 'container',
    task: 'uid',
    attempt: 1,
    kind: 'run',
    consumer,
    exitCode: undefined,
    timeNano: '1',
    ...more,
  };
}
