import { describe, expect, it } from 'vitest';
import { readThresholdTable } from '../src/threshold-table.js';
import { modelFolders, type Files } from './model-folders.js';

describe('the threshold table', () => {
  const lungAndBone = [
    { label: 1, name: 'lung', lowerHu: -930, upperHu: -500.5 },
    { label: 2, name: 'bone', lowerHu: 200, upperHu: Infinity },
  ];

  it('is read as JSON', async () => {
    const regions = [
      { name: 'lung', lower_hu: -930, upper_hu: -500.5 },
      { name: 'bone', lower_hu: 200, upper_hu: null },
    ];
    expect(await read({ 'thresholds.json': JSON.stringify({ regions }) })).toEqual(lungAndBone);
  });

  it('is read as CSV, with blanks, a byte order mark and the line ends of Windows', async () => {
    const csv = '\uFEFFname,lower_hu,upper_hu\r\nlung, -930, -500.5\r\nbone,+200,\r\n\r\n';
    expect(await read({ 'thresholds.csv': csv })).toEqual(lungAndBone);
  });

  it('may have regions that touch, in any order', async () => {
    const csv = 'name,lower_hu,upper_hu\nb,0,10\na,,0\nc,10,';
    expect((await read({ 'thresholds.csv': csv })).map(({ name }) => name)).toEqual([
      'b',
      'a',
      'c',
    ]);
  });

  const json = (regions: unknown): Files => ({ 'thresholds.json': JSON.stringify({ regions }) });
  const csv = (...lines: string[]): Files => ({
    'thresholds.csv': ['name,lower_hu,upper_hu', ...lines].join('\n'),
  });
  const region = (name: unknown, lower?: unknown, upper?: unknown) => ({
    name,
    lower_hu: lower,
    upper_hu: upper,
  });
  const broken: [string, Files, RegExp][] = [
    ['no table', {}, /neither thresholds.json nor thresholds.csv/],
    ['two tables', { ...json([]), ...csv('a,0,1') }, /both/],
    ['no JSON', { 'thresholds.json': '{' }, /thresholds.json: is not JSON/],
    ['no list', { 'thresholds.json': '[]' }, /has no list "regions"/],
    ['no region', json([]), /names no region/],
    ['a region that is none', json([7]), /region 1 is not an object/],
    ['no name', json([region(undefined, 0, 1)]), /region 1 needs a name/],
    ['a name that leaves a folder', json([region('../a', 0, 1)]), /region 1 needs a name/],
    ['a bound in words', json([region('a', '0', 1)]), /region "a": lower_hu is not a number/],
    ['a name given twice', json([region('a', 0, 1), region('a', 2, 3)]), /"a" twice/],
    ['bounds upside down', json([region('a', 1, 1)]), /lower_hu is not below upper_hu/],
    ['an overlap', json([region('a', 5), region('b', 0, 6)]), /"b" and "a" overlap/],
    ['one region inside another', json([region('a', 0, 9), region('b', 2, 3)]), /overlap/],
    ['too many', json(Array.from({ length: 256 }, (_, n) => region(`r${n}`, n, n + 1))), /255/],
    ['no heading', { 'thresholds.csv': 'a,0,1' }, /thresholds.csv: does not start with/],
    ['an empty file', { 'thresholds.csv': '' }, /does not start with/],
    ['two fields', csv('a,0'), /region 1 has not three fields/],
    ['a bound in letters', csv('a,0,1', 'b,x,3'), /region "b": lower_hu is not a number/],
    ['a hexadecimal bound', csv('a,0x10,99'), /region "a": lower_hu is not a number/],
  ];
  it.each(broken)('is refused: %s', async (_, model, message) => {
    await expect(read(model)).rejects.toThrow(message);
  });
});

async function read(model: Files) {
  const { modelFolder } = await modelFolders({}, model);
  return readThresholdTable(modelFolder);
}
