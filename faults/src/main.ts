import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { lineOf, makeSchedule, type Stroke } from './faults/schedule.js';
import { readOptions, usage, type Options } from './options.js';
import { createRandom } from './random.js';
import { breakServer } from './run/break-server.js';
import { isSound, linesOf, writeReport } from './run/report.js';

/** Strokes of the short form: within ten minutes, everything around them included. */
const shortCount = 12;

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    stopping.abort(new Error(signal));
  });
}
process.on('disconnect', () => {
  stopping.abort(new Error('its parent has ended'));
});

const began = performance.now();
const options = readOptions(process.argv.slice(2));
if (options === undefined) {
  process.stderr.write(usage);
  process.exitCode = 2;
} else if (options.isList) {
  for (const stroke of scheduleOf(options)) print(numbered(stroke));
} else {
  process.exitCode = await run(options);
}
// What a killed part has left open does not keep this process.
process.exit();

function scheduleOf({ seed, isSoak, from, count, only, part }: Options): Stroke[] {
  const all = { rounds: 2, from, count: count ?? (isSoak ? Infinity : shortCount), only };
  const strokes = makeSchedule(createRandom(seed).fork('schedule'), all);
  return strokes.filter((_stroke, at) => at % part.of === part.at - 1);
}

async function run(wanted: Options): Promise<number> {
  const { seed, isSoak, from, count, part, only, restS } = wanted;
  const schedule = scheduleOf(wanted);
  if (schedule.length === 0) {
    print(`There is no fault whose name has ${only.join(', or ')} in it.`);
    return 2;
  }
  // A short name: the engines' sockets lie below it.
  const folder = await mkdtemp(join(wanted.folder, 'w'));
  print(`seed ${seed}, ${schedule.length} faults`);
  for (const stroke of schedule) print(`  ${numbered(stroke)}`);
  try {
    const report = await breakServer({
      ...{ folder, seed, only, restS, schedule, print: timed, signal: stopping.signal },
      // Worlds side by side have tasks of their own.
      load: part.of === 1 ? 'load' : `load ${part.at}`,
      environment: { PATH: process.env['PATH'] },
      form: isSoak ? 'soak' : 'short',
      // Of a part not all ways back can be demanded: whoever puts the parts together does.
      isWhole: isSoak && from === 1 && count === undefined && only.length === 0 && part.of === 1,
    });
    if (wanted.report !== undefined) await writeReport(report, wanted.report);
    for (const line of linesOf(report)) print(line);
    return isSound(report) ? 0 : 1;
  } catch (error) {
    print(`✗ the run: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    print('0 passed, 1 failed');
    return 1;
  } finally {
    if (wanted.logs !== undefined) await keepLogs(folder, wanted.logs);
    await rm(folder, { recursive: true, force: true });
  }
}

/** Only they: the disks may be unmounted already, or not. */
async function keepLogs(folder: string, to: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.endsWith('.log')) await cp(join(folder, name), join(to, name));
  }
}

function numbered(stroke: Stroke): string {
  return `${stroke.number} ${lineOf(stroke)}`;
}

function timed(text: string): void {
  print(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} ${text}`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
