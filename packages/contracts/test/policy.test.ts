import { describe, expect, it } from 'vitest';
import {
  parseImageReference,
  refusalOfImage,
  refusalOfRights,
  usualRights,
  userUnder,
  type Policy,
  type Rights,
} from '../src/index.js';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

it.each([
  ['busybox', 'docker.io', 'docker.io/library/busybox', ':latest'],
  ['busybox:1', 'docker.io', 'docker.io/library/busybox', ':1'],
  ['docker.io/busybox:1', 'docker.io', 'docker.io/library/busybox', ':1'],
  ['index.docker.io/lab/copy:1', 'docker.io', 'docker.io/lab/copy', ':1'],
  ['lab/copy:1', 'docker.io', 'docker.io/lab/copy', ':1'],
  ['localhost/copy', 'localhost', 'localhost/copy', ':latest'],
  ['host:5000/lab/copy:1', 'host:5000', 'host:5000/lab/copy', ':1'],
  [`r.example/copy@${digest}`, 'r.example', 'r.example/copy', `@${digest}`],
  [`r.example/copy:1@${digest}`, 'r.example', 'r.example/copy', `:1@${digest}`],
  // What engines could take for the beginning of an image's id.
  ['4f53cda18c2b', 'docker.io', 'docker.io/library/4f53cda18c2b', ':latest'],
])('reads %s as an engine does', (reference, registry, name, rest) => {
  expect(parseImageReference(reference)).toEqual({
    ...{ registry, name, full: `${name}${rest}` },
    digest: rest.includes('@') ? digest : undefined,
  });
});

it('lets no model have the image of the server’s own containers, whatever the policy', () => {
  for (const name of [
    'inference-server/empty:1',
    'docker.io/inference-server/empty',
    `index.docker.io/inference-server/empty@${digest}`,
  ]) {
    expect(refusalOfImage({}, name)?.rule).toBe('images');
    expect(refusalOfImage({ images: [{ name: '**' }] }, name)?.rule).toBe('images');
  }
  expect(refusalOfImage({}, 'inference-server/empty-hand')).toBeUndefined();
});

describe('which images a policy lets run', () => {
  it.each<[string, Policy, readonly string[], readonly string[]]>([
    ['any, without a rule', {}, ['busybox', `r.example/a/b:1@${digest}`], []],
    ['none, of an empty list', { images: [] }, [], ['busybox']],
    [
      'by name',
      { images: [{ name: 'lab/copy' }] },
      ['lab/copy', 'lab/copy:2', `docker.io/lab/copy@${digest}`],
      ['lab/copyist', 'other/lab/copy', 'r.example/lab/copy', 'copy'],
    ],
    [
      'by a pattern, of one part of the name',
      { images: [{ name: 'r.example/lab-*' }] },
      ['r.example/lab-1:3', 'r.example/lab-'],
      ['r.example/lab-1/x', 'rxexample/lab-1', 'evil/r.example/lab-1', 'r.example/lab'],
    ],
    ['by a pattern, of any parts', { images: [{ name: 'lab/**' }] }, ['lab/a', 'lab/a/b'], ['a']],
    ['all, by a pattern', { images: [{ name: '**' }] }, ['a', 'r.example:5/a/b:1'], []],
    [
      'by registry',
      { images: [{ registry: 'r.example:5000' }] },
      ['r.example:5000/a', 'r.example:5000/b/c:1'],
      ['r.example/a', 'r.example:50001/a', 'a', 'docker.io/r.example/a'],
    ],
    ['of docker.io', { images: [{ registry: 'docker.io' }] }, ['a', 'docker.io/a/b'], ['r.io/a']],
    [
      'by digest, under any name',
      { images: [{ digest }] },
      [`a@${digest}`, `r.example/b:1@${digest}`],
      ['a', `a@${digest.replace('0', '1')}`],
    ],
    [
      'where all holds that a rule says',
      { images: [{ registry: 'r.example', digest }] },
      [`r.example/a@${digest}`],
      [`a@${digest}`, 'r.example/a'],
    ],
    [
      'where one of the rules holds',
      { images: [{ name: 'a' }, { registry: 'r.example' }] },
      ['a', 'r.example/b'],
      ['b'],
    ],
    ['by any digest', { require_digest: true }, [`a@${digest}`], ['a', 'a:1']],
    [
      'by any digest, of a registry',
      { require_digest: true, images: [{ registry: 'r.example' }] },
      [`r.example/a@${digest}`],
      ['r.example/a', `a@${digest}`],
    ],
  ])('%s', (_what, policy, allowed, refused) => {
    for (const image of allowed) expect(refusalOfImage(policy, image), image).toBeUndefined();
    for (const image of refused) {
      expect(refusalOfImage(policy, image), image).toBeDefined();
    }
  });
});

describe('what a policy lets a model ask for', () => {
  const allow: Policy['allow'] = [
    { model: 'lung-*', image: { registry: 'r.example' }, networks: ['pacs'] },
    { image: { digest }, cap_add: ['SYS_NICE', 'IPC_LOCK'] },
  ];
  const refusal = (policy: Policy, model: string, image: string, rights: Partial<Rights>) =>
    refusalOfRights(policy, {
      ...{ humanReadableId: model, image },
      rights: { ...usualRights, ...rights },
    });

  it.each<[string, string, string, Partial<Rights>, string | undefined]>([
    ['nothing', 'any', 'a', {}, undefined],
    ['less than usual', 'any', 'a', { user: '1000', read_only_root: true }, undefined],
    ['a network', 'lung-1', 'r.example/a', { network: 'pacs' }, undefined],
    ['it, of another image', 'lung-1', 'a', { network: 'pacs' }, 'network'],
    ['it, by another name', 'a-lung-1', 'r.example/a', { network: 'pacs' }, 'network'],
    ['another network', 'lung-1', 'r.example/a', { network: 'lan' }, 'network'],
    ['capabilities', 'any', `a@${digest}`, { cap_add: ['IPC_LOCK', 'SYS_NICE'] }, undefined],
    ['them, of another image', 'any', 'a', { cap_add: ['IPC_LOCK'] }, 'cap_add'],
    ['more of them', 'any', `a@${digest}`, { cap_add: ['IPC_LOCK', 'KILL'] }, 'cap_add'],
  ])('%s: %s, %s', (_what, model, image, rights, parameter) => {
    expect(refusal({ allow }, model, image, rights)?.parameter).toBe(parameter);
  });

  it('is nothing more than usual without one', () => {
    expect(refusal({}, 'lung-1', 'r.example/a', { network: 'pacs' })?.parameter).toBe('network');
    expect(refusal({}, 'lung-1', 'r.example/a', { cap_add: ['KILL'] })?.parameter).toBe('cap_add');
  });
});

it.each<[Policy, string, ReturnType<typeof userUnder>]>([
  [{}, '', { user: undefined }],
  [{}, '1000', { user: undefined }],
  [{ require_non_root: true }, '1000:staff', { user: '1000:staff' }],
  [{ require_non_root: true, run_as: '7:8' }, '1000', { user: '1000' }],
  [{ run_as: '7:8' }, '', { user: '7:8' }],
  [{ run_as: '7:8' }, 'app', { user: '7:8' }],
  [{ run_as: '7:8' }, '0:0', { user: '7:8' }],
  [{ run_as: '7:8' }, '+1', { user: '7:8' }],
])('under %j the user %j is: %j', (policy, user, as) => {
  expect(userUnder(policy, user)).toEqual(as);
});
