import { expect, it } from 'vitest';
import { excusesRestart, type AttemptRow, type Excuse } from '../src/checks/excuses.js';

const lost: AttemptRow = {
  uid: 'uid',
  number: 1,
  consumerId: 'job-consumer-a',
  outcome: 'lost',
  reason: 'lease_lost',
  detail: null,
  exitCode: null,
  from: 1_000,
  until: 9_000,
};
const restarted = { ...lost, outcome: 'fault', reason: 'consumer_restarted' };
/** Longer than a lease, of a consumer that was killed. */
const lapse: Excuse = {
  fault: 'a kill',
  consumers: ['job-consumer-a'],
  from: 2_000,
  until: 7_000,
  isOf: 'lapsed leases',
};

it('a kill excuses that a lease has lapsed, if there was time for that', () => {
  expect(excusesRestart(lapse, lost)).toBe(true);
  expect(excusesRestart({ ...lapse, until: 6_000 }, lost)).toBe(false);
});

it('a kill excuses nothing but that, and of no other consumer', () => {
  expect(excusesRestart(lapse, restarted)).toBe(false);
  expect(excusesRestart({ ...lapse, consumers: ['job-consumer-b'] }, lost)).toBe(false);
});

it('a lost engine excuses whatever has become of the attempt', () => {
  const { isOf, ...any } = lapse;
  expect(isOf).toBe('lapsed leases');
  for (const attempt of [lost, restarted]) expect(excusesRestart(any, attempt)).toBe(true);
});

it('an engine that has not told of memory excuses no restart', () => {
  expect(excusesRestart({ ...lapse, isOf: 'untold memory' }, lost)).toBe(false);
});

it('private-apis that do not answer excuse lapses of attempts whose renewals failed', () => {
  const silence: Excuse = { ...lapse, isOf: 'unrenewed leases', attempts: ['uid.1'] };
  expect(excusesRestart(silence, lost)).toBe(true);
  expect(excusesRestart({ ...silence, attempts: ['uid.2'] }, lost)).toBe(false);
  expect(excusesRestart(silence, restarted)).toBe(false);
  expect(excusesRestart({ ...silence, until: 6_000 }, lost)).toBe(false);
});

it('an engine that ends excuses that it has stopped what had just started', () => {
  const end: Excuse = { ...lapse, isOf: 'stopped starts' };
  const stopped = { ...restarted, reason: 'interrupted', exitCode: 143 };
  expect(excusesRestart(end, stopped)).toBe(true);
  expect(excusesRestart(end, { ...stopped, exitCode: 137 })).toBe(false);
  expect(excusesRestart(end, { ...stopped, reason: 'engine_away' })).toBe(false);
  expect(excusesRestart({ ...end, from: 6_001 }, stopped)).toBe(false);
  expect(excusesRestart(end, lost)).toBe(false);
});
