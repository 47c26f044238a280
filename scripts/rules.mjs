// npm run test:rules: takes each rule of a task's life (tests/rules) out of a copy of the sources, and
// sees whether the tests notice. The last line is `N passed, N failed`, one for each rule.
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readWithout, rules } from '../tests/rules/rules.mjs';
import { runCommand } from './run-command.mjs';
import { makeFolder, openCopy } from './sources-copy.mjs';
import { countSteps } from './steps.mjs';
import { listenForStop } from './stop-requests.mjs';

const usage =
  'npm run test:rules -- [--only RULE]… [--list]\n' +
  '  --only  the rules whose name or file has this in it\n' +
  '  --list  names them\n';

const options = readOptions(process.argv.slice(2));
if (options === undefined) {
  process.stderr.write(usage);
  process.exitCode = 2;
} else if (options.list) {
  for (const { name } of options.chosen) console.log(name);
} else {
  await testRules(options.chosen);
}

/** Undefined for arguments that are not understood. */
function readOptions(args) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        only: { type: 'string', multiple: true, default: [] },
        list: { type: 'boolean', default: false },
      },
    });
    const { only, list } = values;
    const isWanted = ({ name, file }) =>
      only.length === 0 || only.some((part) => name.includes(part) || file.includes(part));
    const chosen = rules.filter(isWanted);
    return chosen.length === 0 ? undefined : { chosen, list };
  } catch {
    return undefined;
  }
}

async function testRules(chosen) {
  const signal = listenForStop();
  const { counts, step, conclude } = countSteps(signal);
  const folder = await makeFolder('inference-server-rules-');
  try {
    const copy = await openCopy(join(folder, 'copy'), { purpose: 'test', signal });
    const report = join(folder, 'report.json');
    const runTests = (tests) => runNamedTests(copy.root, tests, report, signal);
    const ready =
      (await step('copy of the sources', copy.fill)) &&
      (await step('set-up of the copy', copy.setUp)) &&
      (await step('build of the copy', copy.build)) &&
      (await step('tests with every rule in place', async () => {
        for (const tests of selectionsOf(chosen)) requirePassed(await runTests(tests));
      }));
    // Only rules count.
    counts.passed = 0;
    for (const rule of ready ? chosen : []) {
      await step(rule.name, async () => {
        const { path, before, after } = await readWithout(rule, copy.root);
        await writeFile(path, after);
        try {
          await copy.build();
          return whoNoticed(await runTests(rule.tests));
        } finally {
          await writeFile(path, before);
        }
      });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  conclude();
}

/** As they are run without a rule: a test may stand on one before it in its file. */
function selectionsOf(chosen) {
  const selections = new Map(chosen.map(({ tests }) => [JSON.stringify(tests), tests]));
  return [...selections.values()];
}

/** Every test in question, with how it ended; a file that broke beside its tests is one more. */
async function runNamedTests(root, tests, report, signal) {
  const files = [...new Set(tests.map(([file]) => file))];
  const names = [...new Set(tests.map(([, name]) => name))];
  const pattern = names.map((name) => name.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|');
  await rm(report, { force: true });
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
  const how = ['-t', pattern, '--reporter=json', `--outputFile=${report}`];
  let failure;
  await runCommand(process.execPath, [vitest, 'run', ...files, ...how], {
    cwd: root,
    silent: true,
    asGroup: true,
    timeoutMs: 30 * 60_000,
    signal,
  }).catch((error) => (failure = error));
  signal.throwIfAborted();
  const text = await readFile(report, 'utf8').catch(() => {
    throw new Error(`vitest wrote no report: ${lastLines(failure?.output ?? '')}`);
  });
  const { testResults } = JSON.parse(text);
  return tests.map(([file, name]) => {
    const found = testResults.find((result) => result.name === join(root, file));
    const runs = (found?.assertionResults ?? []).filter(({ fullName }) => fullName.includes(name));
    return { file, name, message: found?.message ?? '', runs };
  });
}

function requirePassed(tests) {
  for (const { file, name, message, runs } of tests) {
    const other = runs.find(({ status }) => status !== 'passed');
    if (runs.length > 0 && other === undefined) continue;
    const why = other?.failureMessages?.[0] ?? message;
    const how = other?.status ?? 'not found';
    throw new Error(`${file}: “${name}” is ${how}${why === '' ? '' : `: ${firstLine(why)}`}`);
  }
}

/** The test that noticed, in words. Throws when none did by an assertion of its own. */
function whoNoticed(tests) {
  const failed = tests.flatMap(({ runs }) => runs.filter(({ status }) => status === 'failed'));
  for (const { fullName, failureMessages } of failed) {
    const message = failureMessages.find(isOfAssertion);
    if (message !== undefined) return `“${fullName}”: ${firstLine(message)}`;
  }
  const other = failed[0]?.failureMessages[0] ?? tests.find(({ message }) => message)?.message;
  if (other === undefined) throw new Error('no test noticed');
  throw new Error(`a test failed, but not by an assertion: ${firstLine(other)}`);
}

/** What `expect.poll`, `rejects` and `resolves` throw has no name of its own: their frame tells. */
function isOfAssertion(message) {
  return /^AssertionError|__VITEST_(POLL_CHAIN|REJECTS|RESOLVES)__/.test(message);
}

function firstLine(text) {
  return text.split('\n', 1)[0].slice(0, 160);
}

function lastLines(text) {
  return text.trim().split('\n').slice(-5).join(' | ');
}
