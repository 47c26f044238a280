import { expect, it } from 'vitest';
import { judgeEnds } from '../src/checks/process-ends.js';
import type { EndedProcess } from '../src/world/ended-process.js';

const at = 1_800_000_000_000;
const sigterm = { signal: 'SIGTERM', at: at - 15_000 } as const;

it.each<[string, Partial<EndedProcess>]>([
  ['an app that was asked to end, with 0', { asked: sigterm, code: 0 }],
  ['one that was killed', { asked: { ...sigterm, signal: 'SIGKILL' }, signal: 'SIGKILL' }],
  ['a service, with whatever code', { asked: sigterm, isOurs: false, code: 2 }],
])('takes as asked: %s', (_, end) => {
  expect(judgeEnds([ended(end)], [])).toEqual({ asAsked: 1, byDesign: {}, broken: [] });
});

it.each<[string, Partial<EndedProcess>]>([
  ['by itself, though with 0', { code: 0 }],
  ['a service, by itself', { isOurs: false, code: 0 }],
  ['with 1, when asked', { asked: sigterm, code: 1 }],
  ['by another signal', { asked: sigterm, signal: 'SIGSEGV' }],
  ['by itself, just before it was killed', { asked: { ...sigterm, signal: 'SIGKILL' }, code: 1 }],
  ['a service that had to be killed', { asked: sigterm, isOurs: false, hadToBeKilled: true }],
])('does not take: %s', (_, end) => {
  expect(judgeEnds([ended(end)], [])).toMatchObject({ asAsked: 0, broken: [expect.anything()] });
});

const replaced: Partial<EndedProcess> = {
  name: 'job-consumer-a',
  wasReplaced: true,
  code: 1,
  lastLines: ['{"msg":"Another process is the consumer job-consumer-a already."}'],
};
it.each<[string, Partial<EndedProcess>, boolean]>([
  ['a consumer that was replaced', {}, true],
  ['one beside which nobody was started', { wasReplaced: false }, false],
  ['one with another code', { code: 0 }, false],
  ['one with other last words', { lastLines: ['out of memory'] }, false],
  ['another app', { name: 'private-api-1' }, false],
])('knows %s', (_, end, isByDesign) => {
  const { byDesign, broken } = judgeEnds([ended({ ...replaced, ...end })], []);
  expect([Object.values(byDesign), broken.length]).toEqual(isByDesign ? [[1], 0] : [[], 1]);
});

const without: Partial<EndedProcess> = {
  name: 'private-api-1',
  asked: sigterm,
  code: 1,
  lastLines: ['{"msg":"the grace time is over"}'],
};
it.each<[string, Partial<EndedProcess>, number, boolean]>([
  ['stands still', {}, Infinity, true],
  ['is back', {}, at - 10_000, false],
  ['stands still, and nobody asked', { asked: undefined }, Infinity, false],
  ['stands still, and it had to be killed', { hadToBeKilled: true }, Infinity, false],
  ['stands still, of a public-api', { name: 'public-api-1' }, Infinity, false],
])('knows a private-api whose PostgreSQL %s', (_, end, until, isByDesign) => {
  const away = [{ from: at - 20_000, until }];
  const { byDesign, broken } = judgeEnds([ended({ ...without, ...end })], away);
  expect([Object.values(byDesign), broken.length]).toEqual(isByDesign ? [[1], 0] : [[], 1]);
});

function ended(end: Partial<EndedProcess>): EndedProcess {
  return {
    ...{ name: 'public-api-1', pid: 7, isOurs: true, endedAt: at, asked: undefined },
    ...{ hadToBeKilled: false, wasReplaced: false, code: null, signal: null, lastLines: [] },
    ...end,
  };
}
