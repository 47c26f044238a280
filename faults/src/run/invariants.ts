import type { TaskFindings } from '../checks/check-tasks.js';
import { areOfKills } from '../checks/engine-processes.js';
import type { Footprint } from '../checks/footprints.js';
import type { EndsTold } from '../checks/process-ends.js';
import { isDemanded } from '../checks/recovery-branches.js';
import type { StrokeResult } from '../faults/strike.js';
import type { EngineWatch } from '../world/engine-events.js';

/** Something that must hold however the server is harmed, with its figure. */
export interface Invariant {
  name: string;
  figure: string;
  /** Every case in which it did not hold. */
  broken: readonly string[];
}

export interface Observations {
  tasks: TaskFindings;
  strokes: readonly StrokeResult[];
  /** Whether every caller has heard of the end of its task. */
  isOver: boolean;
  missing: readonly string[];
  /** How often a stored output was held against its model's. */
  outputs: { looked: number };
  withoutLease: readonly string[];
  leftovers: readonly string[];
  emptyShims: readonly string[];
  held: { footprints: readonly Footprint[]; tooLarge: readonly string[] };
  overuse: readonly string[];
  ends: EndsTold;
  errorLines: { expected: Record<string, number>; broken: readonly string[] };
  engines: { silent: readonly string[]; watches: readonly EngineWatch[] };
  branches: Readonly<Record<string, number>>;
  /** Ways back that need not have been taken in a short run. */
  wantsAllBranches: boolean;
}

export function invariantsOf(seen: Observations): Invariant[] {
  const { tasks, strokes, branches, emptyShims } = seen;
  const again = Object.entries(tasks.startedAgain).map(([why, times]) => `${why} ${times}`);
  const { acknowledged: all, memory } = tasks;
  const missed = strokes.filter(({ hit, proofs }) => hit === undefined || proofs.length === 0);
  const late = strokes.filter(({ recoveryMs }) => recoveryMs === undefined);
  const troubled = strokes.filter(({ trouble }) => trouble !== undefined);
  return [
    {
      name: 'acknowledged tasks in exactly one end',
      figure: `${all - tasks.lost.length} of ${all}`,
      broken: [
        ...tasks.lost,
        ...(seen.isOver ? [] : ['callers still wait for an end']),
        ...(all === 0 ? ['nothing was acknowledged'] : []),
      ],
    },
    {
      name: 'ends and outputs are what the task is to come to',
      figure: `${tasks.wrong.length} wrong; ${seen.outputs.looked} looks at stored outputs`,
      broken: [...tasks.wrong, ...(seen.outputs.looked === 0 ? ['no output was looked at'] : [])],
    },
    {
      name: 'accepted outputs at most 1 a task, and 1 task a key',
      figure: `${tasks.doubled.length} doubled`,
      broken: tasks.doubled,
    },
    {
      name: 'containers started again only for a fault',
      figure: again.length === 0 ? 'none again' : `again: ${again.join(', ')}`,
      broken: tasks.startedTwice,
    },
    {
      name: 'each run told by its engine as by its row',
      figure: `${tasks.runs} runs, of ${tasks.unasked} not their ends; ${memory.runs} out of memory, of ${memory.unheard.length} no event`,
      broken: [
        ...tasks.untold,
        ...(tasks.runs === 0 ? ['nothing ran'] : []),
        ...(isUsual(memory) ? [] : memory.unheard),
      ],
    },
    {
      name: 'none RUNNING for more than 60 s without a lease',
      figure: `${seen.withoutLease.length}`,
      broken: seen.withoutLease,
    },
    {
      name: 'every 2xx has a row and its bytes behind it',
      figure: `${seen.missing.length} missing`,
      broken: seen.missing,
    },
    {
      name: 'nothing left over',
      figure: `${seen.leftovers.length}; ${emptyShims.length} empty shims behind killed engines`,
      broken: [...seen.leftovers, ...(areOfKills(emptyShims, strokes) ? [] : emptyShims)],
    },
    {
      name: 'at rest no process holds more than when it had begun',
      figure: largest(seen.held.footprints),
      broken: seen.held.tooLarge,
    },
    { name: 'no slot used twice', figure: `${seen.overuse.length}`, broken: seen.overuse },
    {
      name: 'no process ended unasked, or other than it was asked to',
      figure: [`${seen.ends.asAsked} as asked`, ...counted(seen.ends.byDesign)].join(', '),
      broken: seen.ends.broken,
    },
    {
      name: 'no error lines but those that are expected',
      figure: counted(seen.errorLines.expected).join(', ') || 'none',
      broken: seen.errorLines.broken,
    },
    {
      name: 'every engine told what it did',
      figure: seen.engines.watches
        .map(({ engine, told, fromState, connections }) => {
          return `${engine} ${told} events (${fromState} from states) in ${connections} connections`;
        })
        .join(', '),
      broken: seen.engines.silent,
    },
    {
      name: 'faults that hit',
      figure: `${strokes.length - missed.length} of ${strokes.length}`,
      broken: missed.map(({ number, fault, phase }) => `${number}: ${fault}, ${phase}`),
    },
    {
      name: 'faults that could be made and undone',
      figure: `${strokes.length - troubled.length} of ${strokes.length}`,
      broken: troubled.map(({ number, fault, trouble = '' }) => `${number}: ${fault}: ${trouble}`),
    },
    {
      name: 'recovered from within 3 min',
      figure: `${strokes.length - late.length} of ${strokes.length}`,
      broken: late.map(({ number, fault, phase }) => `${number}: ${fault}, ${phase}`),
    },
    waysBack(branches, seen.wantsAllBranches),
  ];
}

/** An engine's events are for whoever listens at that time: of 640 runs, one was seen without. */
function isUsual({ runs, unheard }: TaskFindings['memory']): boolean {
  return unheard.length <= Math.max(1, runs / 300);
}

export function waysBack(branches: Readonly<Record<string, number>>, wantsAll: boolean): Invariant {
  const demanded = Object.entries(branches).filter(([name]) => isDemanded(name));
  const unreached = demanded.filter(([, times]) => times === 0);
  return {
    name: 'ways back that were taken',
    figure: `${demanded.length - unreached.length} of ${demanded.length}`,
    broken: wantsAll ? unreached.map(([name]) => name) : [],
  };
}

function largest(footprints: readonly Footprint[]): string {
  const files = Math.max(...footprints.map((one) => one.files));
  const memoryMib = Math.max(...footprints.map((one) => one.memoryMib));
  return `${footprints.length} processes, at most ${files} files and connections and ${memoryMib} MiB each`;
}

function counted(times: Readonly<Record<string, number>>): string[] {
  return Object.entries(times).map(([what, count]) => `${what} ${count}`);
}
