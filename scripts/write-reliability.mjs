// node scripts/write-reliability.mjs RESULT: writes the tables of docs/reliability.md, and the line of the
// README, from a report of `npm run test:faults -- --soak --keep`.
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { repository } from './setup.mjs';

/** What can be found, as the report calls it, and in words. */
const harms = {
  lost: 'lost',
  doubled: 'doubled',
  leftOver: 'left over',
  wrong: 'wrong',
  missing: 'missing',
};
const phases = ['post', 'ticket', 'claim', 'stage', 'run', 'collect', 'settle'];
const begin = '<!-- of the report -->\n';
const end = '<!-- end of the report -->\n';

const resultPath = resolve(process.argv[2] ?? '');
const report = JSON.parse(await readFile(resultPath, 'utf8'));
await writeBetween(join(repository, 'docs', 'reliability.md'), describe(report));
await writeBetween(join(repository, 'README.md'), summarize(report));

async function writeBetween(page, content) {
  const text = await readFile(page, 'utf8');
  const from = text.indexOf(begin) + begin.length;
  const to = text.indexOf(end);
  if (from < begin.length || to < from) throw new Error(`${page} has no place for the report`);
  const written = `${text.slice(0, from)}\n${content}\n${text.slice(to)}`;
  await writeFile(page, await format(written, { ...(await resolveConfig(page)), filepath: page }));
}

function summarize({ date, table, tasks, rows, unmatched, recoveryMs }) {
  const hit = table.reduce((sum, cell) => sum + cell.hit, 0);
  const found = Object.entries(harms).map(([kind, word]) => {
    const count = [...rows, unmatched].reduce((sum, one) => sum + one[kind], 0);
    return `${count} ${word}`;
  });
  return `${date.slice(0, 10)}: ${hit} faults under load, ${tasks.acknowledged} tasks, ${found.join(', ')}; recovery ${inSeconds(recoveryMs?.median)} in the median, ${inSeconds(recoveryMs?.worst)} at worst.`;
}

function describe({ date, command, machine, seconds, seed, tasks, recoveryMs, ...rest }) {
  const { strokes, table, rows, unmatched, invariants, branches, startedAgain, mutations } = rest;
  const file = `../benchmarks/results/${basename(resultPath)}`;
  return [
    `${date.slice(0, 10)}, \`${command}\`, seed ${seed}, commit ${machine.commit}: ${strokes.length} faults, ${tasks.acknowledged} tasks in ${(seconds / 3600).toFixed(1)} h on ${machine.cores} cores and ${Math.round(machine.memoryMib / 1024)} GiB, node ${machine.node} ([report](${file})). Recovery: median ${inSeconds(recoveryMs?.median)}, worst ${inSeconds(recoveryMs?.worst)}.`,
    '',
    tableOf(
      ['what must hold', 'figure', 'broken'],
      invariants.map(({ name, figure, broken }) => [name, figure, broken.length]),
    ),
    '',
    'What each fault has come to. In the phases: how often it hit there, and how long the server took, in the median and at worst. Then, of the tasks that were under way meanwhile, how many were lost, doubled, not what they were to come to, or missing behind their answer, and what was left over of them; where anything was found, the phase is named.',
    '',
    tableOf(
      ['fault', ...phases, ...Object.values(harms)],
      rows.map((row) => cellsOf(row, table)),
    ),
    '',
    `Of no task or of no fault, and so in no row: ${countsOf(unmatched) || 'nothing'}.`,
    '',
    tableOf(['way back', 'times'], Object.entries(branches)),
    '',
    tableOf(['started again for', 'times'], Object.entries(startedAgain)),
    '',
    ...(mutations === undefined
      ? []
      : [
          `Mutations: ${mutations.date.slice(0, 10)}, \`${mutations.command}\`, commit ${mutations.commit}.`,
          '',
          tableOf(['without', 'what noticed'], Object.entries(mutations.noticed)),
          '',
        ]),
  ].join('\n');
}

function cellsOf({ fault, harmedIn, ...found }, table) {
  const inPhases = phases.map((phase) => {
    const cell = table.find((one) => one.fault === fault && one.phase === phase);
    if (cell === undefined) return '';
    const { median, worst } = cell.recoveryMs ?? {};
    return `${cell.hit}: ${inSeconds(median)}, ${inSeconds(worst)}`;
  });
  const where = harmedIn.length === 0 ? '' : ` (${harmedIn.join(', ')})`;
  const cells = Object.keys(harms).map((kind) => (found[kind] === 0 ? '0' : found[kind] + where));
  return [fault, ...inPhases, ...cells];
}

function countsOf(found) {
  const kinds = Object.entries(harms).filter(([kind]) => found[kind] > 0);
  return kinds.map(([kind, word]) => `${found[kind]} ${word}`).join(', ');
}

function inSeconds(ms) {
  return ms === undefined ? '' : `${(ms / 1000).toFixed(1)} s`;
}

function tableOf(head, rows) {
  const line = (cells) => `| ${cells.map(inCell).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** As it stands between two bars. */
function inCell(value) {
  return String(value).replaceAll('|', '\\|');
}
