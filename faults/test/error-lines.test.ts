import { expect, it } from 'vitest';
import { keepErrorLines } from '../src/checks/error-lines.js';

const nobody = new Set<number>();
const replacedMsg = 'Another process is the consumer job-consumer-a already.';

it('finds errors, fatal ones and what is no line of a logger, and nothing else', () => {
  const lines = keepErrorLines();
  lines.note('a', line({ level: 40, msg: 'a warning' }));
  lines.note('a', line({ level: 50, msg: 'the request failed', errorId: 'x' }));
  lines.note('b', line({ level: 60, msg: 'failed' }));
  lines.note('b', line({ level: 30, pid: 0, msg: '(node:1) Warning: a leak' }));
  expect(lines.told(nobody)).toEqual({
    expected: {},
    broken: [
      expect.stringMatching(/^a: .*"the request failed","errorId":"x"/),
      expect.stringMatching(/^b: .*"failed"/),
      'b: (node:1) Warning: a leak',
    ],
  });
});

it('counts those that are expected', () => {
  const lines = keepErrorLines();
  const msg = 'in quarantine: it takes no tasks';
  for (const time of [1, 2]) lines.note('a', line({ level: 50, time, msg }));
  expect(lines.told(nobody)).toEqual({ expected: { [msg]: 2 }, broken: [] });
});

it('lets who was replaced say so, and nobody else', () => {
  const lines = keepErrorLines();
  for (const pid of [7, 8]) lines.note('a', line({ level: 60, pid, msg: replacedMsg }));
  const { expected, broken } = lines.told(new Set([7]));
  expect(Object.values(expected)).toEqual([1]);
  expect(broken).toEqual([expect.stringContaining('"pid":8')]);
});

it('keeps some of very many, and counts the rest', () => {
  const lines = keepErrorLines();
  for (let at = 0; at < 1_000; at += 1) lines.note('a', line({ level: 50, msg: `error ${at}` }));
  const { broken } = lines.told(nobody);
  expect(broken).toHaveLength(51);
  expect(broken.at(-1)).toBe('and 950 more');
});

function line(of: { level: number; msg: string; [name: string]: unknown }) {
  return { time: 0, pid: 7, ...of };
}
