import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, inject, it } from 'vitest';
import { Policy } from '@inference-server/contracts';
import { testFolder } from '@inference-server/testing';
import { ConfigError, readPolicy } from '../src/index.js';

async function policyOf(text: string) {
  const path = join(await testFolder(), 'policy.yaml');
  await writeFile(path, text);
  return readPolicy(path);
}

it('reads YAML and JSON; without a file nothing is forbidden', async () => {
  const policy = { require_digest: true, images: [{ registry: 'r.example' }] };
  const yaml = '# ours\nrequire_digest: true\nimages:\n  - registry: r.example\n';
  expect(await policyOf(yaml)).toEqual(policy);
  expect(await policyOf(JSON.stringify(policy))).toEqual(policy);
  expect(readPolicy(undefined)).toEqual({});
});

it('reads what the page about it shows', async () => {
  const page = await readFile(join(inject('repository'), 'docs', 'sandbox.md'), 'utf8');
  const [, shown = ''] = /```yaml\n(images:.*?)```/s.exec(page) ?? [];
  expect(Object.keys(await policyOf(shown)).sort()).toEqual(Object.keys(Policy.properties).sort());
});

it.each([
  ['an empty file', '', /must be object/],
  ['what is no YAML', 'images: [', /line 1/],
  ['a key twice', 'require_digest: true\nrequire_digest: false\n', /unique.*line 2/s],
  ['an unknown rule', 'require_digests: true', /additional properties: require_digests/],
  ['a word for a switch', 'require_digest: sometimes', /require_digest: must be boolean/],
  ['a rule that says nothing', 'images: [{}]', /images\.0: must not have fewer than 1/],
  ['a broken digest', 'images: [{ digest: latest }]', /images\.0\.digest: must match/],
  ['an unknown word in a rule', 'images: [{ tag: x }]', /images\.0: .*additional properties: tag/],
])('refuses %s, and says where it is', async (_what, text, says) => {
  const refusal = await policyOf(text).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(ConfigError);
  expect((refusal as Error).message).toMatch(says);
  expect((refusal as Error).message).toMatch(/^POLICY_FILE: /);
});

it('refuses a file that is not there', () => {
  expect(() => readPolicy('/absent/policy.yaml')).toThrow(/POLICY_FILE: .*absent/);
});
