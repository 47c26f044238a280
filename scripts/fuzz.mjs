// npm run test:fuzz: feeds made and damaged input to whatever reads what strangers send. The last line
// is `N passed, N failed`, one for each target.
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from './build.mjs';
import { runCommand } from './run-command.mjs';
import { repository, setUp } from './setup.mjs';
import { countSteps } from './steps.mjs';
import { listenForStop } from './stop-requests.mjs';

const usage =
  'npm run test:fuzz -- [--long] [--only TARGET]… [--seed N] [--cases N] [--keep]\n' +
  '  --long   a million cases, for up to an hour\n' +
  '  --seed   the same cases again: a failure says of which seed it was\n' +
  '  --cases  so many of each target\n' +
  '  --keep   writes the figures to tests/fuzz/results\n';

const options = readOptions(process.argv.slice(2));
if (options === undefined) {
  process.stderr.write(usage);
  process.exitCode = 2;
} else {
  await fuzz(options);
}

/** Undefined for arguments that are not understood. */
function readOptions(args) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        long: { type: 'boolean', default: false },
        keep: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true, default: [] },
        seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
        cases: { type: 'string' },
      },
    });
    const { long: isLong, keep, only } = values;
    const seed = wholeNumber(values.seed);
    const cases = values.cases === undefined ? null : wholeNumber(values.cases);
    return { isLong, keep, only, seed, cases };
  } catch {
    return undefined;
  }
}

function wholeNumber(text) {
  if (!/^\d{1,9}$/.test(text) && !(Number(text) < 2 ** 31 && /^\d{10}$/.test(text))) {
    throw new Error(`${text} is no number that fits`);
  }
  return Number(text);
}

async function fuzz({ keep, ...wanted }) {
  const signal = listenForStop();
  const { counts, step, conclude } = countSteps(signal);
  const ready =
    (await step('set-up', () => setUp({ purpose: 'test', signal }))) &&
    (await step('build', () => build(signal)));
  // Only targets count.
  counts.passed = 0;
  const results = ready ? await runTargets(wanted, signal, counts) : [];
  if (keep && results.length > 0 && !signal.aborted) await writeResults(results, wanted, signal);
  conclude();
}

/** What each target came to; counts them, and a run that broke beside them as one failure more. */
async function runTargets(wanted, signal, counts) {
  const folder = await mkdtemp(join(tmpdir(), 'inference-server-fuzz-'));
  const reportPath = join(folder, 'report.jsonl');
  console.log(`seed ${wanted.seed}`);
  let problem;
  try {
    await runVitest({ ...wanted, reportPath }, signal);
  } catch (error) {
    problem = error.message;
  }
  const [{ chosen, runFolder } = { chosen: [] }, ...results] = await readLines(reportPath);
  await rm(folder, { recursive: true });
  if (runFolder !== undefined) await endWhatIsLeft(runFolder);
  results.forEach(tell);
  const passed = results.filter(({ finding }) => finding === undefined);
  counts.passed += passed.length;
  counts.failed += chosen.length - passed.length;
  if (problem !== undefined && passed.length === chosen.length) {
    console.log(`✗ the run: ${problem}`);
    counts.failed += 1;
  }
  return results;
}

/** A run that was ended from outside has not stopped its services. */
async function endWhatIsLeft(runFolder) {
  if (!existsSync(runFolder)) return;
  const { removeRunFolder } = await import('../packages/testing/dist/run-folder.js');
  await removeRunFolder(runFolder, process.env);
}

async function runVitest(wanted, signal) {
  const config = join('tests', 'fuzz', 'vitest.config.ts');
  await runCommand(
    process.execPath,
    [join('node_modules', 'vitest', 'vitest.mjs'), 'run', '--config', config, '--root', '.'],
    {
      cwd: repository,
      env: { ...process.env, FUZZ: JSON.stringify(wanted) },
      // Its workers would go on without it.
      asGroup: true,
      timeoutMs: wanted.isLong ? 60 * 60_000 : 15 * 60_000,
      signal,
    },
  );
}

async function readLines(path) {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

function tell({ name, seed, planned, cases, accepted, seconds, finding }) {
  const again = `npm run test:fuzz -- --only ${name} --seed ${seed} --cases ${planned}`;
  if (finding !== undefined) {
    console.log(`✗ ${name}, after ${cases} cases: ${finding}\n  again: ${again}`);
    return;
  }
  const share = Math.round((100 * accepted) / cases);
  const rate = Math.round(cases / seconds);
  console.log(
    `✓ ${name}: ${cases} cases (${share} % accepted), ${seconds.toFixed(1)} s, ${rate}/s, seed ${seed}`,
  );
}

/** The figures, with what they were taken on. */
async function writeResults(results, { isLong, seed, only, cases }, signal) {
  const { describeMachine } = await import('../packages/testing/dist/index.js');
  const date = new Date().toISOString();
  const folder = join(repository, 'tests', 'fuzz', 'results');
  const path = join(folder, `${date.slice(0, 19).replaceAll(':', '')}.json`);
  const command = [
    'npm run test:fuzz --',
    ...(isLong ? ['--long'] : []),
    ...only.map((name) => `--only ${name}`),
    `--seed ${seed}`,
    ...(cases === null ? [] : [`--cases ${cases}`]),
  ].join(' ');
  const targets = results.map((result) => ({
    ...result,
    seconds: Number(result.seconds.toFixed(1)),
    casesPerSecond: Math.round(result.cases / result.seconds),
  }));
  const report = {
    date,
    command,
    machine: await describeMachine(process.env, signal),
    versions: Object.fromEntries(
      await Promise.all(
        ['fast-check', 'fastify', 'vitest'].map(async (name) => [name, await versionOf(name)]),
      ),
    ),
    cases: results.reduce((sum, result) => sum + result.cases, 0),
    targets,
  };
  await mkdir(folder, { recursive: true });
  await writeFile(path, `${JSON.stringify(report, undefined, 1)}\n`);
  console.log(`written: ${path}`);
}

async function versionOf(name) {
  const path = join(repository, 'node_modules', name, 'package.json');
  return JSON.parse(await readFile(path, 'utf8')).version;
}
