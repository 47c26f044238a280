import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** The check of the import directions, run on small trees that break them. */
const repository = fileURLToPath(new URL('../..', import.meta.url));
const checker = join(
  repository,
  'node_modules',
  'dependency-cruiser',
  'bin',
  'dependency-cruise.mjs',
);
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'boundaries-'));
  for (const name of ['.dependency-cruiser.cjs', 'tsconfig.base.json', 'tsconfig.tests.json']) {
    await cp(join(repository, name), join(folder, name));
  }
  await symlink(join(repository, 'node_modules'), join(folder, 'node_modules'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const packages = '@inference-server';
const nothing = 'export const nothing = 0;\n';
const sound = {
  'packages/contracts/src/index.ts': nothing,
  'packages/errors/src/index.ts': `export * from '${packages}/contracts';\n`,
  'packages/archive/src/index.ts': `export * from '${packages}/errors';\n`,
  'packages/testing/src/index.ts': nothing,
  'packages/container-engine/src/index.ts': nothing,
  'apps/private-api/src/main.ts': `export * from '${packages}/archive';\n`,
  'apps/public-api/src/main.ts': `export * from '${packages}/errors';\n`,
  'apps/rpc-gateway/src/main.ts': `export * from '${packages}/errors';\n`,
};

describe('the check of import directions', () => {
  test('passes a sound tree', async () => {
    expect(await check({})).toEqual({ passed: true, rules: [] });
  });

  test.each([
    [
      'a circle',
      'no-circle',
      {
        'packages/errors/src/index.ts': `export * from './a.js';`,
        'packages/errors/src/a.ts': `export * from './index.js';`,
      },
    ],
    [
      'contracts that imports ours',
      'contracts-imports-nothing-of-ours',
      { 'packages/contracts/src/index.ts': `export * from '${packages}/testing';` },
    ],
    [
      'errors that imports more than contracts',
      'errors-imports-contracts-only',
      { 'packages/errors/src/index.ts': `export * from '${packages}/container-engine';` },
    ],
    [
      'a package that imports an app',
      'packages-import-no-app',
      { 'packages/archive/src/index.ts': `export * from '../../../apps/public-api/src/main.js';` },
    ],
    [
      'an app that imports an app',
      'apps-import-no-app',
      { 'apps/private-api/src/main.ts': `export * from '../../public-api/src/main.js';` },
    ],
    [
      'a deep import',
      'no-deep-import',
      {
        'packages/archive/src/inner.ts': nothing,
        'apps/private-api/src/main.ts': `export * from '../../../packages/archive/src/inner.js';`,
      },
    ],
    [
      'an app that ships fixtures',
      'testing-is-for-tests',
      { 'apps/private-api/src/main.ts': `export * from '${packages}/testing';` },
    ],
    [
      'public-api with insides',
      'public-api-knows-no-insides',
      { 'apps/public-api/src/main.ts': `export * from '${packages}/archive';` },
    ],
    [
      'rpc-gateway with insides',
      'rpc-gateway-knows-no-insides',
      { 'apps/rpc-gateway/src/main.ts': `export * from '${packages}/container-engine';` },
    ],
    [
      'private-api with docker',
      'private-api-knows-no-docker',
      { 'apps/private-api/src/main.ts': `export * from '${packages}/container-engine';` },
    ],
    [
      'a second importer of dockerode',
      'dockerode-has-one-importer',
      { 'apps/private-api/src/main.ts': `import 'dockerode';` },
    ],
    [
      'a second importer of BullMQ',
      'bullmq-has-one-importer',
      { 'apps/private-api/src/main.ts': `import 'bullmq';` },
    ],
    [
      'a second importer of Prisma',
      'prisma-has-one-importer',
      { 'packages/archive/src/index.ts': `import '@prisma/adapter-pg';` },
    ],
    [
      'a second reader of zips',
      'archives-are-read-in-one-place',
      { 'apps/private-api/src/main.ts': `import 'tar-stream';` },
    ],
    [
      'adm-zip where a user’s zip goes',
      'adm-zip-takes-no-zip-of-a-user',
      { 'packages/archive/src/index.ts': `import 'adm-zip';` },
    ],
    [
      'an import that leads nowhere',
      'not-resolvable',
      { 'packages/archive/src/index.ts': `import './nowhere.js';` },
    ],
  ])('fails on %s', async (_what, rule, breach) => {
    const { passed, rules } = await check(breach);
    expect(passed).toBe(false);
    expect(rules).toContain(rule);
  });
});

async function check(
  breach: Record<string, string>,
): Promise<{ passed: boolean; rules: string[] }> {
  for (const part of ['packages', 'apps']) {
    await rm(join(folder, part), { recursive: true, force: true });
  }
  for (const [path, text] of Object.entries({ ...sound, ...breach })) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  const args = [checker, '--config', '.dependency-cruiser.cjs', 'packages', 'apps'];
  return await new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: folder, timeout: 60_000 }, (error, stdout) => {
      const rules = [...stdout.matchAll(/^ *error ([\w-]+):/gm)].map(([, rule]) => rule ?? '');
      resolve({ passed: error === null, rules });
    });
  });
}
