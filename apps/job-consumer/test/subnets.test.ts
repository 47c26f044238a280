import { expect, it } from 'vitest';
import { freeSubnets, isBlock } from '../src/replicas/subnets.js';

it('gives each part of a block once, from a place on that the name says', () => {
  const all = [...freeSubnets('10.213.0.0/24', [], 'one')];
  expect(all).toHaveLength(16);
  expect(new Set(all).size).toBe(16);
  const at = (subnet: string) => Number(/\.(\d+)\/28$/.exec(subnet)?.[1]) / 16;
  const first = at(all[0] ?? '');
  expect(all.map(at)).toEqual(all.map((_subnet, step) => (first + step) % 16));
  expect(all.every((subnet) => /^10\.213\.0\.\d+\/28$/.test(subnet))).toBe(true);
  const starts = ['a', 'b', 'c', 'd'].map((name) => [...freeSubnets('10.213.0.0/16', [], name)][0]);
  expect(new Set(starts).size).toBe(4);
});

it('leaves out what another network has any of', () => {
  const taken = ['10.213.0.0/25', '10.213.0.144/29', '10.213.0.255/32', '192.168.0.0/16'];
  const left = [...freeSubnets('10.213.0.0/24', taken, 'one')].sort();
  expect(left).toEqual(['128', '160', '176', '192', '208', '224'].map((at) => `10.213.0.${at}/28`));
  expect([...freeSubnets('10.213.0.0/24', ['10.0.0.0/8'], 'one')]).toEqual([]);
});

it.each([
  ['10.213.0.0/16', true],
  ['10.213.0.16/28', true],
  ['10.0.0.0/8', true],
  ['10.213.0.1/28', false],
  ['10.213.0.0/29', false],
  ['0.0.0.0/0', false],
  ['10.213.0.256/28', false],
  ['10.213.0.0', false],
  ['', false],
])('%j is a block: %s', (text, is) => {
  expect(isBlock(text)).toBe(is);
});
