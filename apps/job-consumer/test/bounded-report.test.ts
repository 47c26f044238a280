import { expect, it } from 'vitest';
import type { ReportedReplica } from '@inference-server/contracts';
import { boundedReport } from '../src/replicas/bounded-report.js';

const ended = (log: string, detail = 'It ended.'): ReportedReplica => ({
  id: '00000000-0000-4000-8000-000000000000',
  state: 'ended',
  end: { reason: 'exited', detail, exit_code: 1, out_of_memory: false, log },
});
const ready: ReportedReplica = { id: ended('').id, state: 'ready', address: '10.0.0.1:9090' };
const bytesOf = (value: unknown) => Buffer.byteLength(JSON.stringify(value));

it('tells all as it is where that is not too much', () => {
  const all = [ready, ended('a log'), ended('x'.repeat(65_536))];
  expect(boundedReport(all)).toEqual(all);
});

it('cuts logs to the bytes that they take in JSON, and keeps their ends', () => {
  const all = Array.from({ length: 20 }, () => ended(`${'\u0007'.repeat(65_000)}ends`));
  const told = boundedReport([...all, ended('short')]);
  expect(bytesOf(told)).toBeLessThanOrEqual(1024 ** 2 + 2);
  expect(bytesOf(told)).toBeGreaterThan(900_000);
  expect(told).toHaveLength(21);
  for (const { end } of told.slice(0, 20))
    expect(end?.log.endsWith(`${'\u0007'.repeat(1_000)}ends`)).toBe(true);
  expect(told.at(-1)?.end?.log).toBe('short');
});

it('cuts no character in two', () => {
  const [told] = boundedReport([ended('😀'.repeat(1_000))], { maxBytes: 1_003 });
  expect(told?.end?.log).toMatch(/^(?:😀)+$/u);
});

it('tells of those that have not ended first, and of the others what there is room for', () => {
  const many = Array.from({ length: 1_200 }, () => ended('log', '\u0007'.repeat(1_000)));
  const told = boundedReport([...many, ready]);
  expect(told[0]).toEqual(ready);
  expect(told.length).toBeGreaterThan(100);
  expect(bytesOf(told)).toBeLessThanOrEqual(1024 ** 2 + 2);
  expect(boundedReport(Array.from({ length: 1_200 }, () => ended('')))).toHaveLength(1_000);
});

it('leaves out the logs that were refused', () => {
  expect(boundedReport([ready, ended('a log')], { hasLogs: false })).toEqual([ready, ended('')]);
});
