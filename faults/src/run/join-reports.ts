import { sumOfHarms } from '../checks/harms.js';
import { groupBy } from '../checks/groups.js';
import { waysBack } from './invariants.js';
import { medianAndWorst, rowsOf, type Cell, type Report } from './report.js';

/**
 * The reports of worlds that ran side by side and shared the strokes, as one. An invariant holds when it
 * held in each of them; the ways back must have been taken in any.
 */
export function joinReports([first, ...others]: [Report, ...Report[]], isWhole: boolean): Report {
  const all = [first, ...others];
  const strokes = all.flatMap((one) => one.strokes).sort((a, b) => a.number - b.number);
  const branches = sumOf(all.map((one) => one.branches));
  const ways = waysBack(branches, isWhole);
  const table = joinCells(
    all.flatMap((one) => one.table),
    strokes,
  );
  return {
    ...first,
    seconds: Math.max(...all.map(({ seconds }) => seconds)),
    tasks: {
      acknowledged: all.reduce((sum, { tasks }) => sum + tasks.acknowledged, 0),
      byEnd: sumOf(all.map(({ tasks }) => tasks.byEnd)),
      byKind: sumOf(all.map(({ tasks }) => tasks.byKind)),
    },
    invariants: first.invariants.map(({ name }) => {
      if (name === ways.name) return ways;
      const same = all.flatMap(({ invariants }) => invariants.filter((one) => one.name === name));
      return {
        name,
        figure: same.map(({ figure }) => figure).join('; '),
        broken: same.flatMap(({ broken }) => broken),
      };
    }),
    recoveryMs: medianAndWorst(strokes),
    branches,
    startedAgain: sumOf(all.map((one) => one.startedAgain)),
    table,
    rows: rowsOf(table, strokes),
    unmatched: sumOfHarms(all.map((one) => one.unmatched)),
    strokes,
  };
}

function joinCells(cells: readonly Cell[], strokes: Report['strokes']): Cell[] {
  const same = groupBy(cells, ({ fault, phase }) => `${phase}: ${fault}`);
  return [...same.values()].flatMap((of) => {
    const [first] = of;
    if (first === undefined) return [];
    const { fault, phase } = first;
    return {
      ...{ fault, phase },
      times: of.reduce((sum, { times }) => sum + times, 0),
      hit: of.reduce((sum, { hit }) => sum + hit, 0),
      ...sumOfHarms(of),
      recoveryMs: medianAndWorst(
        strokes.filter((stroke) => stroke.fault === fault && stroke.phase === phase),
      ),
    };
  });
}

function sumOf(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const counts of all) {
    for (const [name, count] of Object.entries(counts)) sum[name] = (sum[name] ?? 0) + count;
  }
  return sum;
}
