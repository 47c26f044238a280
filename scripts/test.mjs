// npm test: everything that tells whether this tree is sound. The last line is `N passed, N failed`:
// the tests, and one for each other step.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from './build.mjs';
import { runCommand } from './run-command.mjs';
import { repository, setUp } from './setup.mjs';
import { countSteps } from './steps.mjs';
import { listenForStop } from './stop-requests.mjs';

const signal = listenForStop();
const { counts, step, conclude } = countSteps(signal);

/** The steps that the later ones stand on, then those that stand alone. */
const ready =
  (await step('set-up', () => setUp({ purpose: 'test', signal }))) &&
  (await step('build', () => build(signal)));
if (ready) {
  await step('lint', () => tool('eslint/bin/eslint.js', ['.']));
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
  await step('openapi documents', () => node([join('scripts', 'write-openapi.mjs'), '--check']));
  await runTests();
}
conclude();

/** Every test counts for itself; a run that breaks beside its tests counts as one failure more. */
async function runTests() {
  const folder = await mkdtemp(join(tmpdir(), 'inference-server-report-'));
  const report = join(folder, 'tests.json');
  const ran = await step('test run', () =>
    tool(
      'vitest/vitest.mjs',
      ['run', '--reporter=default', '--reporter=json', `--outputFile=${report}`],
      // Its workers would go on without it.
      { quiet: false, asGroup: true },
    ),
  );
  try {
    const { numPassedTests, numFailedTests, numPendingTests } = JSON.parse(
      await readFile(report, 'utf8'),
    );
    counts.passed += numPassedTests;
    counts.failed += numFailedTests;
    if (numPendingTests > 0) console.log(`${numPendingTests} tests were skipped on this machine`);
  } catch (error) {
    if (ran) throw error;
  } finally {
    await rm(folder, { recursive: true });
  }
}

function tool(path, args, options = {}) {
  return node([join('node_modules', path), ...args], options);
}

function node(args, { quiet = true, asGroup = false } = {}) {
  return runCommand(process.execPath, args, {
    cwd: repository,
    quiet,
    asGroup,
    timeoutMs: 14 * 60_000,
    signal,
  });
}
