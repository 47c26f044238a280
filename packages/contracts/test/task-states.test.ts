import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, inject, it } from 'vitest';
import { isEnded, nextTaskState, taskStates, taskTransitions } from '../src/index.js';

describe('the state machine of a task', () => {
  it('follows the life of a task that succeeds', () => {
    expect(nextTaskState('PENDING', 'ticket_sent')).toBe('QUEUED');
    expect(nextTaskState('QUEUED', 'claimed')).toBe('RUNNING');
    expect(nextTaskState('RUNNING', 'output_accepted')).toBe('FINISHED');
  });

  it('never leaves an ended state', () => {
    const ended = taskStates.filter(isEnded);
    expect(ended).toEqual(['FINISHED', 'FAILED', 'CANCELLED', 'EXPIRED']);
    for (const state of ended) {
      for (const event of Object.keys(taskTransitions) as (keyof typeof taskTransitions)[]) {
        expect(nextTaskState(state, event)).toBeUndefined();
      }
    }
  });

  it('reaches every state, and ends from every state', () => {
    const reached = new Set(Object.values(taskTransitions).map(({ to }) => to));
    expect([...reached].sort()).toEqual([...taskStates].sort());
    for (const state of taskStates.filter((state) => !isEnded(state))) {
      expect(nextTaskState(state, 'cancelled')).toBe('CANCELLED');
    }
  });

  // The statements are made of the table: nobody else would notice a state too many.
  it('is the one of docs/task-life.md', async () => {
    const page = await readFile(join(inject('repository'), 'docs/task-life.md'), 'utf8');
    const rows = [...page.matchAll(/^\| `(\w+)` +\| ([A-Z, ]+?) +\| ([A-Z]+) +\|/gm)];
    const documented = rows.map(([, event = '', from = '', to]) => [
      event,
      { from: from.split(', '), to },
    ]);
    expect(Object.fromEntries(documented)).toEqual(taskTransitions);
  });
});
