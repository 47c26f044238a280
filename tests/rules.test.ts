import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, inject, it } from 'vitest';
import { readWithout, rules } from './rules/rules.mjs';

// Whether the tests notice that a rule is gone is for `npm run test:rules` to say. This holds the table
// against the sources.
describe('the table of rules', () => {
  it('names each rule once', () => {
    const names = rules.map(({ name }) => name);
    expect(names).toEqual([...new Set(names)]);
  });

  it.each(rules)('knows where this stands, and who tests it: $name', async (rule) => {
    const { before, after } = await readWithout(rule, inject('repository'));
    expect(after).not.toBe(before);
    for (const [file, name] of rule.tests) {
      const source = await readFile(join(inject('repository'), file), 'utf8');
      expect(source.replaceAll("\\'", "'")).toContain(name);
    }
  });
});
