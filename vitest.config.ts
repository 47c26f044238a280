import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const packages = fileURLToPath(new URL('packages', import.meta.url));

/** Tests run on the sources of our packages, whatever has been built. Apps are run as built. */
const sources = readdirSync(packages)
  .map((name) => ({ name, file: `${packages}/${name}/src/index.ts` }))
  .filter(({ file }) => existsSync(file))
  .map(({ name, file }) => ({
    find: new RegExp(`^@inference-server/${name}$`),
    replacement: file,
  }));

export default defineConfig({
  resolve: { alias: sources },
  test: {
    include: [
      '{packages,apps,examples}/*/test/**/*.test.ts',
      '{benchmarks,faults,tests}/**/*.test.ts',
    ],
    globalSetup: ['packages/testing/src/global-setup.ts'],
    setupFiles: ['packages/testing/src/setup-file.ts'],
    pool: 'forks',
    // Modules are read once a process, not once a file: that is a sixth of the time. Files share no state that matters.
    isolate: false,
    maxWorkers: 2,
    testTimeout: 30_000,
    // The first file that asks for a service waits for its start.
    hookTimeout: 120_000,
    teardownTimeout: 60_000,
  },
});
