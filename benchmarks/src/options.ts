import { parseArgs } from 'node:util';

export const benchmarkNames = [
  'lifecycle',
  'transfer',
  'polls',
  'gate',
  'predict',
  'doors',
] as const;
export type BenchmarkName = (typeof benchmarkNames)[number];

export interface Options {
  only: readonly BenchmarkName[];
  /** A few rounds, to see that everything works. */
  quick: boolean;
  /** The results are for the repository, not for a folder that git ignores. */
  keep: boolean;
  /** Where our processes leave a CPU profile each; undefined: none is taken. */
  profileFolder: string | undefined;
}

export const usage = `npm run bench -- [--only ${benchmarkNames.join('|')}] [--quick] [--keep] [--cpu-prof FOLDER]\n`;

/** Undefined for arguments that are not understood. `--only` may be given several times. */
export function readOptions(args: string[]): Options | undefined {
  try {
    const { values } = parseArgs({
      args,
      options: {
        only: { type: 'string', multiple: true },
        quick: { type: 'boolean', default: false },
        keep: { type: 'boolean', default: false },
        'cpu-prof': { type: 'string' },
      },
    });
    const only = values.only ?? benchmarkNames;
    if (!only.every(isBenchmarkName)) return undefined;
    const { quick, keep } = values;
    return { only, quick, keep, profileFolder: values['cpu-prof'] };
  } catch {
    return undefined;
  }
}

function isBenchmarkName(name: string): name is BenchmarkName {
  return (benchmarkNames as readonly string[]).includes(name);
}
