// Generates the Prisma client without the network: the command wants to download a schema engine
// that generating does not use, so it is pointed at a program that exists.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const prisma = createRequire(join(root, 'apps/private-api/package.json')).resolve(
  'prisma/build/index.js',
);
const { status } = spawnSync(
  process.execPath,
  [prisma, 'generate', '--schema', join(root, 'prisma/schema.prisma')],
  {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...process.env,
      PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
      PRISMA_HIDE_UPDATE_MESSAGE: '1',
      CHECKPOINT_DISABLE: '1',
    },
  },
);
process.exit(status ?? 1);
