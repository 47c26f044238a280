import type { LogLine } from '../world/log-tail.js';

/** A line at level error or fatal that a fault of this suite brings about, and why it is one. */
interface Expected {
  msg: string | RegExp;
  why: string;
  /** Only of a process beside which its successor was started. */
  ofReplaced?: boolean;
}

const expected: readonly Expected[] = [
  {
    msg: 'in quarantine: it takes no tasks',
    why: 'an engine, its disk or the device failed several times in a row: an operator is to look',
  },
  {
    msg: /^Another process is the consumer /,
    why: 'the last word of a consumer that was replaced while it stood still',
    ofReplaced: true,
  },
];

/** As pino has it: 60 is fatal. */
const levelError = 50;
/** So that a process that complains without end does not fill the report, or the memory. */
const mostTold = 50;
const charactersTold = 2_000;

export interface ErrorLines {
  note(process: string, line: LogLine): void;
  /** `replaced`: the pids of processes beside which a successor was started. */
  told(replaced: ReadonlySet<number>): { expected: Record<string, number>; broken: string[] };
}

/**
 * Keeps what our processes say at level error or fatal, and what they say that is no line of their logger
 * (a library's warning, the words of a process that dies).
 */
export function keepErrorLines(): ErrorLines {
  const kept: { process: string; line: LogLine; expectation: Expected | undefined }[] = [];
  const times = new Map<Expected, number>();
  let more = 0;
  return {
    note(process, line) {
      if (line.pid !== 0 && line.level < levelError) return;
      const expectation = expected.find(({ msg }) =>
        typeof msg === 'string' ? line.msg === msg : msg.test(line.msg),
      );
      if (expectation !== undefined && expectation.ofReplaced !== true) {
        times.set(expectation, (times.get(expectation) ?? 0) + 1);
      } else if (kept.length < mostTold) kept.push({ process, line, expectation });
      else more += 1;
    },
    told(replaced) {
      const all = new Map(times);
      const broken: string[] = [];
      for (const { process, line, expectation } of kept) {
        if (expectation !== undefined && replaced.has(line.pid)) {
          all.set(expectation, (all.get(expectation) ?? 0) + 1);
        } else broken.push(`${process}: ${textOf(line)}`.slice(0, charactersTold));
      }
      if (more > 0) broken.push(`and ${more} more`);
      const named = [...all].map(([{ msg }, count]) => [String(msg), count] as const);
      return { expected: Object.fromEntries(named), broken };
    },
  };
}

function textOf(line: LogLine): string {
  return line.pid === 0 ? line.msg : JSON.stringify(line);
}
