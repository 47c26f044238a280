import type { EndedProcess } from '../world/ended-process.js';

/** Times (Unix, ms) in which a service stood still or was none. */
type Away = readonly { from: number; until: number }[];

/** An end that is no fault although nobody asked for it in this form. */
interface ByDesign {
  why: string;
  isIt(end: EndedProcess, postgresAway: Away): boolean;
}

/** As narrow as they can be: each names the process, the code, and what else must be so. */
const byDesign: readonly ByDesign[] = [
  {
    why: 'a consumer that was replaced ends with 1 by itself',
    isIt: ({ name, asked, wasReplaced, code, lastLines }) =>
      name.startsWith('job-consumer') &&
      wasReplaced &&
      asked === undefined &&
      code === 1 &&
      lastLines.some((line) => line.includes('Another process is the consumer')),
  },
  {
    why: 'a private-api cannot take leave of a PostgreSQL that stands still, and ends with 1 at its grace',
    isIt: ({ name, asked, hadToBeKilled, code, endedAt, lastLines }, postgresAway) =>
      name.startsWith('private-api') &&
      asked?.signal === 'SIGTERM' &&
      !hadToBeKilled &&
      code === 1 &&
      lastLines.some((line) => line.includes('the grace time is over')) &&
      // Until the end: one that is back can be taken leave of.
      postgresAway.some(({ from, until }) => from <= endedAt && until >= endedAt),
  },
];

export interface EndsTold {
  asAsked: number;
  /** By design, though not as asked: how many, by why. */
  byDesign: Record<string, number>;
  /** Each end that nobody asked for, or that was another than what was asked for, with its last lines. */
  broken: string[];
}

/** Holds each end of a process against what had been asked of it. */
export function judgeEnds(ends: readonly EndedProcess[], postgresAway: Away): EndsTold {
  const told: EndsTold = { asAsked: 0, byDesign: {}, broken: [] };
  for (const end of ends) {
    const reason = byDesign.find(({ isIt }) => isIt(end, postgresAway));
    if (isAsAsked(end)) told.asAsked += 1;
    else if (reason === undefined) told.broken.push(describe(end));
    else told.byDesign[reason.why] = (told.byDesign[reason.why] ?? 0) + 1;
  }
  return told;
}

/** Ours end with 0 when they are asked to; with which code a service ends is its own affair. */
function isAsAsked({ isOurs, asked, hadToBeKilled, code, signal }: EndedProcess): boolean {
  if (asked === undefined || hadToBeKilled) return false;
  if (asked.signal === 'SIGKILL') return signal === 'SIGKILL';
  return isOurs ? code === 0 : signal !== 'SIGKILL';
}

function describe(end: EndedProcess): string {
  const { name, pid, endedAt, asked, hadToBeKilled, code, signal, lastLines } = end;
  const how = signal ?? `code ${String(code)}`;
  const after =
    asked === undefined
      ? 'unasked'
      : `${((endedAt - asked.at) / 1000).toFixed(1)} s after ${asked.signal}`;
  const killed = hadToBeKilled ? ', it had to be killed' : '';
  const at = new Date(endedAt).toISOString();
  return [`${name} ${pid} ended with ${how}, ${after}${killed}, at ${at}`, ...lastLines].join(
    '\n      ',
  );
}
