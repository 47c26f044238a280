import { randomInt } from 'node:crypto';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';

export interface Options {
  /** Every fault in every phase that makes sense, twice. */
  isSoak: boolean;
  /** Schedule and tasks follow from it. */
  seed: string;
  /** The number of the first stroke, in the schedule of the seed. */
  from: number;
  /** Strokes; undefined: as many as the form has. */
  count: number | undefined;
  /** Of the strokes those that fall to this one of so many worlds, which run side by side. */
  part: { at: number; of: number };
  /** Parts of what a line of the schedule says, as `run: FLUSHALL (container_started)`; none: all. */
  only: readonly string[];
  /** For everything of the run; whoever starts it removes what a killed run leaves there. */
  folder: string;
  /** How long everything has at the end to come to rest (s). */
  restS: number;
  /** Where the report goes; undefined: it is only told. */
  report: string | undefined;
  /** Where the logs of all processes are left; undefined: nowhere. */
  logs: string | undefined;
  /** Tells the schedule, and that is all. */
  isList: boolean;
}

export const usage =
  'npm run test:faults -- [--soak] [--worlds N] [--seed TEXT] [--from N] [--count N] [--only FAULT]… [--rest S] [--list] [--logs FOLDER] [--keep]\n' +
  '  --soak   every fault in every phase, twice: hours\n' +
  '  --worlds so many installations side by side, which share the strokes: 1\n' +
  '  --seed   the same schedule and the same tasks again\n' +
  '  --from   begins with the stroke of this number\n' +
  '  --count  so many strokes of the schedule\n' +
  '  --only   strokes with this in their line of the schedule, as FLUSHALL or "run: FLUSHALL (container_started)"\n' +
  '  --rest   how long everything has at the end to come to rest: 420\n' +
  '  --list   tells the schedule and ends\n' +
  '  --logs   leaves the logs of all processes there\n' +
  '  --keep   writes the report to benchmarks/results\n';

/** Undefined for arguments that are not understood. */
export function readOptions(args: string[]): Options | undefined {
  try {
    const { values } = parseArgs({
      args,
      options: {
        soak: { type: 'boolean', default: false },
        seed: { type: 'string', default: String(randomInt(2 ** 31)) },
        from: { type: 'string', default: '1' },
        count: { type: 'string' },
        part: { type: 'string', default: '1/1' },
        only: { type: 'string', multiple: true, default: [] },
        rest: { type: 'string', default: '420' },
        report: { type: 'string' },
        folder: { type: 'string', default: tmpdir() },
        logs: { type: 'string' },
        list: { type: 'boolean', default: false },
      },
    });
    const { soak: isSoak, seed, only, folder, report, logs, list: isList } = values;
    if (
      ![values.from, values.rest, values.count ?? '1'].every((text) => /^[1-9]\d{0,4}$/.test(text))
    )
      return undefined;
    const [, at = '', of = ''] = /^([1-9])\/([1-9])$/.exec(values.part) ?? [];
    const part = { at: Number(at), of: Number(of) };
    if (part.at < 1 || part.at > part.of) return undefined;
    const from = Number(values.from);
    const restS = Number(values.rest);
    const count = values.count === undefined ? undefined : Number(values.count);
    return { isSoak, seed, from, count, part, only, restS, folder, report, logs, isList };
  } catch {
    return undefined;
  }
}
