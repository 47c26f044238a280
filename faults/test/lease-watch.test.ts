import { beforeAll, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import { watchLeases } from '../src/checks/lease-watch.js';
import type { World } from '../src/world/world.js';
import { openRows, type Rows } from './rows.js';

/** Longer than a lease of the rows has lapsed where that is fine, shorter than where it is not. */
const longestS = 10;
const options = { longestS, everyMs: 50 };
const finished = { outcome: 'finished' } as const;
const lost = { outcome: 'lost' } as const;
let rows: Rows;

beforeAll(async () => {
  rows = await openRows();
});

it('finds what runs and is nobody’s, and nothing else', async () => {
  const held = await rows.task({ state: 'RUNNING', attempts: [lost, { leaseForS: 30 }] });
  const found = [
    await rows.task({ state: 'RUNNING' }),
    await rows.task({ state: 'RUNNING', attempts: [{ leaseForS: -longestS - 1 }] }),
    await rows.task({ state: 'RUNNING', attempts: [lost] }),
    // The lease is of another attempt than the one that runs.
    await rows.task({ state: 'RUNNING', attempt: 2, attempts: [{ leaseForS: 30 }] }),
  ];
  await rows.task({ state: 'RUNNING', attempts: [{ leaseForS: -1 }] });
  await rows.task({ state: 'QUEUED', attempt: 2, attempts: [lost] });
  await rows.task({ state: 'PENDING' });
  await rows.task({ state: 'FINISHED', attempts: [finished] });
  const watch = watchLeases(rows, options);
  try {
    expect(await waitUntil(() => watch.looks > 0, { timeoutMs: 10_000 })).toBe(true);
    expect([...watch.found].sort()).toEqual(found.sort());
    await rows.query(
      `UPDATE attempts SET lease_until = now() - interval '1 hour' WHERE task_uid = $1`,
      [held],
    );
    expect(await waitUntil(() => watch.found.has(held), { timeoutMs: 10_000 })).toBe(true);
  } finally {
    await watch.close();
  }
  expect(watch.found.size).toBe(5);
});

it('looks for a minute’s worth where nothing else is said', async () => {
  const late = await rows.task({ state: 'RUNNING', attempts: [{ leaseForS: -62 }] });
  const soon = await rows.task({ state: 'RUNNING', attempts: [{ leaseForS: -30 }] });
  const watch = watchLeases(rows);
  try {
    expect(await waitUntil(() => watch.looks > 0, { timeoutMs: 10_000 })).toBe(true);
    expect([watch.found.has(late), watch.found.has(soon)]).toEqual([true, false]);
  } finally {
    await watch.close();
  }
});

it('tells for how long nobody could look, unless the database was away', async () => {
  let isAnswering = true;
  const query: World['query'] = async (sql, values) => {
    return await rows.query(isAnswering ? sql : 'SELECT broken', values);
  };
  const watch = watchLeases({ query }, { longestS: 0.5, everyMs: 20 });
  const looks = async (more: number) => {
    const before = watch.looks;
    expect(await waitUntil(() => watch.looks >= before + more, { timeoutMs: 10_000 })).toBe(true);
  };
  try {
    await looks(2);
    expect(watch.unwatched([])).toEqual([]);
    isAnswering = false;
    const from = Date.now();
    await waitUntil(() => Date.now() - from > 1_500, { timeoutMs: 10_000 });
    isAnswering = true;
    await looks(1);
    expect(watch.unwatched([])).toEqual([expect.stringMatching(/^nobody looked for [12] s since/)]);
    expect(watch.unwatched([{ from: from - 1_000, until: Infinity }])).toEqual([]);
    expect(watch.unwatched([{ from: from - 1_000, until: from + 200 }])).toHaveLength(1);
    isAnswering = false;
    const last = Date.now();
    await waitUntil(() => Date.now() - last > 1_000, { timeoutMs: 10_000 });
  } finally {
    await watch.close();
  }
  // Also up to the end.
  expect(watch.unwatched([])).toHaveLength(2);
});

it('goes on when the database is away, and counts only looks that were answered', async () => {
  const uid = await rows.task({ state: 'RUNNING' });
  let asked = 0;
  const query: World['query'] = async (sql, values) => {
    asked += 1;
    return await rows.query(asked <= 2 ? 'SELECT broken' : sql, values);
  };
  const watch = watchLeases({ query }, options);
  try {
    expect(await waitUntil(() => watch.found.has(uid), { timeoutMs: 10_000 })).toBe(true);
    expect(watch.looks).toBeGreaterThan(0);
    expect(watch.looks).toBeLessThanOrEqual(asked - 2);
  } finally {
    await watch.close();
  }
});
