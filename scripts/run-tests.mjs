import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { runCommand } from './run-command.mjs';
import { repository } from './setup.mjs';

/**
 * Runs the tests that vitest chooses by these arguments, as a step. Every test counts for itself; a run
 * that breaks beside its tests counts as one failure more, and so does one of more than so many minutes.
 */
export async function runTests(args, { minutes, counts, step, signal }) {
  const folder = await mkdtemp(join(tmpdir(), 'inference-server-report-'));
  const report = join(folder, 'tests.json');
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile=${report}`];
  const ran = await step('test run', () =>
    runCommand(process.execPath, [vitest, 'run', ...reporters, ...args], {
      cwd: repository,
      quiet: false,
      // Its workers would go on without it.
      asGroup: true,
      timeoutMs: minutes * 60_000,
      signal,
    }),
  );
  try {
    const { numPassedTests, numFailedTests, numPendingTests, testResults } = JSON.parse(
      await readFile(report, 'utf8'),
    );
    for (const line of testResults.flatMap(tellFailures)) console.log(line);
    counts.passed += numPassedTests;
    counts.failed += numFailedTests;
    if (numPendingTests > 0) console.log(`${numPendingTests} tests were skipped on this machine`);
  } catch (error) {
    if (ran) throw error;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A line for each test of a file that failed, and for a file that failed beside its tests. */
function tellFailures({ name: path, status, message, assertionResults }) {
  const file = relative(repository, path);
  const failed = assertionResults.filter((test) => test.status === 'failed');
  if (failed.length === 0 && status === 'failed') return [`✗ ${file}: ${firstLine(message)}`];
  return failed.map(
    ({ fullName, failureMessages }) => `✗ ${file}: ${fullName}: ${firstLine(failureMessages[0])}`,
  );
}

function firstLine(text = '') {
  return text.split('\n', 1)[0];
}
