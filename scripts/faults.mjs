// npm run test:faults: breaks the running server in every way, and looks for what was lost. Its
// arguments are those of faults/ (faults/src/options.ts), and --keep and --mutations. Needs root: a run
// has network, mounts and processes of its own. The last line is `N passed, N failed`.
import { execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { mutations } from '../faults/mutations.mjs';
import { readWithout } from '../tests/rules/rules.mjs';
import { build } from './build.mjs';
import { repository, setUp } from './setup.mjs';
import { makeFolder, openCopy } from './sources-copy.mjs';
import { countSteps } from './steps.mjs';
import { listenForStop } from './stop-requests.mjs';

const ofThisScript = ['--keep', '--mutations'];
const args = process.argv.slice(2);
const worlds = takeNumber('--worlds');
const ofRun = args.filter((arg) => !ofThisScript.includes(arg));
const isWholeSoak =
  ofRun.includes('--soak') && !['--only', '--from', '--count'].some((part) => ofRun.includes(part));

const results = join(repository, 'benchmarks', 'results');
const signal = listenForStop();
// The engines' sockets lie below it, whose names must not be long.
const folder = await makeFolder('server-faults-');
try {
  await setUp({ purpose: 'faults', signal });
  await build(signal);
  if (args.includes('--mutations')) await runMutations();
  else await runFaults();
} catch (error) {
  if (!signal.aborted) console.error(error.message);
  process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** Takes an argument with its number out of all; 1: it is not there. */
function takeNumber(name) {
  const at = args.indexOf(name);
  if (at < 0) return 1;
  const [, text] = args.splice(at, 2);
  if (!/^[1-9]$/.test(text)) throw new Error(`${name} is followed by a number from 1 to 9.`);
  return Number(text);
}

/** One run; a whole soak ends with the mutations. */
async function runFaults() {
  const path = join(folder, 'report.json');
  process.exitCode =
    worlds === 1 || ofRun.includes('--list')
      ? await runWorld(repository, [...ofRun, '--report', path])
      : await runWorlds(path);
  if (ofRun.includes('--list') || process.exitCode === 2) return;
  const isKept = args.includes('--keep');
  // At once: the mutations take long, too.
  if (isKept) await keepReport(path, {});
  if (!isWholeSoak || process.exitCode !== 0) return;
  const noticed = await tryMutations();
  if (isKept) await keepReport(path, { mutations: await keptMutations(noticed) });
}

/** They may be of another day, and another commit, than the report with which they are kept. */
async function keptMutations(noticed) {
  const { stdout } = await promisify(execFile)('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: repository,
  });
  const date = new Date().toISOString();
  return {
    command: `npm run test:faults -- ${args.join(' ')}`,
    date,
    commit: stdout.trim(),
    noticed,
  };
}

/** Alone; kept with the last report that is. */
async function runMutations() {
  const noticed = await tryMutations();
  if (!args.includes('--keep')) return;
  const kept = (await readdir(results)).filter((name) => name.endsWith('-faults.json')).sort();
  if (kept.length === 0) throw new Error('There is no report yet to keep them with.');
  const file = join(results, kept.at(-1));
  const report = JSON.parse(await readFile(file, 'utf8'));
  const mutations = await keptMutations(noticed);
  await writeFile(file, `${JSON.stringify({ ...report, mutations }, undefined, 1)}\n`);
}

/** Side by side, with the strokes of one schedule shared among them; one report of all goes to `path`. */
async function runWorlds(path) {
  const { joinReports } = await import('../faults/dist/run/join-reports.js');
  const { isSound, linesOf, writeReport } = await import('../faults/dist/run/report.js');
  const seed = ofRun.includes('--seed') ? [] : ['--seed', String(randomInt(2 ** 31))];
  const logs = ofRun.indexOf('--logs');
  const runs = Array.from({ length: worlds }, async (_, at) => {
    const own = [...ofRun, ...seed];
    const report = join(folder, `report-${at + 1}.json`);
    if (logs >= 0) own[logs + 1] = join(own[logs + 1], String(at + 1));
    const code = await runWorld(
      repository,
      [...own, '--part', `${at + 1}/${worlds}`, '--report', report],
      `${at + 1}| `,
    );
    return { code, report };
  });
  const ended = await Promise.all(runs);
  const [code = 1] = ended.map((one) => one.code).filter((one) => one > 1);
  if (code > 1) return code;
  const reports = await Promise.all(
    ended.map(async ({ report }) => JSON.parse(await readFile(report, 'utf8'))),
  );
  const joined = joinReports(reports, isWholeSoak);
  await writeReport(joined, path);
  for (const line of linesOf(joined)) console.log(line);
  return isSound(joined) ? 0 : 1;
}

/**
 * Takes one of the server's defences out of a copy of the sources at a time: the run that must fail for
 * it has to. Answers which invariants noticed.
 */
async function tryMutations() {
  const { counts, step, conclude } = countSteps(signal);
  const copy = await openCopy(join(folder, 'copy'), { purpose: 'faults', signal });
  const ready =
    (await step('copy of the sources', copy.fill)) &&
    (await step('set-up of the copy', copy.setUp)) &&
    (await step('build of the copy', copy.build));
  // Only mutations count.
  counts.passed = 0;
  const noticed = {};
  const isSound = ready && (await step('nothing taken out', () => requireSound(copy)));
  // What fails without a mutation proves nothing with one.
  for (const mutation of isSound ? mutations : []) {
    await step(`without ${mutation.name}`, async () => {
      noticed[mutation.name] = await whatBreaksWithout(mutation, copy);
      return noticed[mutation.name];
    });
  }
  conclude();
  return noticed;
}

/** All that strikes for the mutations, with nothing taken out. */
async function requireSound(copy) {
  const faults = [...new Set(mutations.flatMap((mutation) => mutation.faults))];
  const broken = await whatBreaks(copy, faults, 99);
  if (broken.length > 0) throw new Error(broken.map(({ name }) => name).join('; '));
}

/** What noticed the mutation: the invariant that is its own, and a finding. */
async function whatBreaksWithout(mutation, copy) {
  const broken = await whatBreaksIn(mutation, copy);
  const { invariant, finding } = mutation.breaks;
  const found = broken
    .filter(({ name }) => name === invariant)
    .flatMap((one) => one.broken)
    .filter((text) => finding.test(text));
  if (found.length === 0) {
    const others = broken.map(({ name }) => name).join('; ') || 'all invariants held';
    throw new Error(`nothing noticed: ${others}`);
  }
  return `${invariant}: ${found.length}, as ${found[0]}`;
}

async function whatBreaksIn(mutation, copy) {
  const { path, before, after } = await readWithout(mutation, copy.root);
  await writeFile(path, after);
  try {
    await copy.build();
    return await whatBreaks(copy, mutation.faults, mutation.count);
  } finally {
    await writeFile(path, before);
  }
}

async function whatBreaks(copy, faults, count) {
  const report = join(folder, 'mutation.json');
  await rm(report, { force: true });
  const only = faults.flatMap((name) => ['--only', name]);
  const how = ['--seed', '1', '--count', String(count), ...only, '--rest', '120'];
  await runWorld(copy.root, [...how, '--report', report]);
  const { invariants } = JSON.parse(await readFile(report, 'utf8'));
  return invariants.filter((one) => one.broken.length > 0);
}

async function keepReport(path, more) {
  const report = JSON.parse(await readFile(path, 'utf8'));
  const how = worlds === 1 ? ofRun : [...ofRun, '--worlds', worlds];
  const kept = { command: `npm run test:faults -- ${how.join(' ')}`.trim(), ...report, ...more };
  const file = join(results, `${report.date.slice(0, 19).replaceAll(':', '')}-faults.json`);
  await mkdir(results, { recursive: true });
  await writeFile(file, `${JSON.stringify(kept, undefined, 1)}\n`);
  console.log(`written: ${file}`);
}

/**
 * The exit code of a run of the sources at `root`. In namespaces of its own: every port is private to
 * the run, nothing reaches another network, and whatever it has started and mounted ends with it, also
 * when it is killed. The shell is the first process there, and takes leave of orphans.
 */
async function runWorld(root, argsOfWorld, prefix) {
  signal.throwIfAborted();
  const main = join(root, 'faults', 'dist', 'main.js');
  const apart = ['--net', '--mount', '--pid', '--mount-proc', '--fork', '--kill-child'];
  const inside = '/bin/busybox ip link set lo up && "$0" "$@"; exit $?';
  const all = [...argsOfWorld, '--folder', folder];
  const command = ['/bin/busybox', 'sh', '-c', inside, process.execPath, main, ...all];
  const run = spawn('unshare', [...apart, ...command], {
    // The channel tells it when this process is gone without a word, or is asked to stop.
    stdio: ['ignore', prefix === undefined ? 'inherit' : 'pipe', 'inherit', 'ipc'],
  });
  if (prefix !== undefined) {
    createInterface({ input: run.stdout }).on('line', (line) => console.log(prefix + line));
  }
  const stop = () => run.connected && run.disconnect();
  signal.addEventListener('abort', stop);
  try {
    return await new Promise((resolve, reject) => {
      run.once('error', reject);
      run.once('exit', (code) => resolve(code ?? 1));
    });
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
