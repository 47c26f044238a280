// npm test: everything that tells whether this tree is sound. The last line is `N passed, N failed`:
// the tests, and one for each other step.
import { join } from 'node:path';
import { build } from './build.mjs';
import { runCommand } from './run-command.mjs';
import { runTests } from './run-tests.mjs';
import { repository, setUp } from './setup.mjs';
import { countSteps } from './steps.mjs';
import { listenForStop } from './stop-requests.mjs';

const signal = listenForStop();
const { counts, step, conclude } = countSteps(signal);

/** The steps that the later ones stand on, then those that stand alone, beside the longest of them. */
const ready =
  (await step('set-up', () => setUp({ purpose: 'test', signal }))) &&
  (await step('build', () => build(signal)));
if (ready) {
  await Promise.all([
    step('lint', () => tool('eslint/bin/eslint.js', ['.'])),
    (async () => {
      await step('format', () =>
        tool('prettier/bin/prettier.cjs', ['--check', '--log-level=warn', '.']),
      );
      await step('boundaries', () =>
        tool('dependency-cruiser/bin/dependency-cruise.mjs', [
          ...['--config', '.dependency-cruiser.cjs'],
          ...['apps', 'packages', 'examples', 'benchmarks'],
        ]),
      );
      await step('types of tests', () => tool('typescript/bin/tsc', ['-p', 'tsconfig.tests.json']));
      await step('unused', () => tool('knip/bin/knip.js', ['--no-progress']));
      await step('openapi documents', () =>
        node([join('scripts', 'write-openapi.mjs'), '--check']),
      );
    })(),
  ]);
  // Those that break and attack the whole server, or need a GPU, are suites of their own.
  const others = [
    ...['**/outages/**', 'tests/gpu/**'],
    ...['tests/hostile-*', 'tests/echoes.*', 'tests/fuzz.test.ts'],
    'packages/archive/test/{large,zip-gate,honest-zips}.*',
  ].flatMap((files) => ['--exclude', files]);
  await runTests(others, { minutes: 14, counts, step, signal });
}
conclude();

function tool(path, args) {
  return node([join('node_modules', path), ...args]);
}

function node(args) {
  return runCommand(process.execPath, args, {
    cwd: repository,
    quiet: true,
    timeoutMs: 5 * 60_000,
    signal,
  });
}
