import { readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Type from 'typebox';

/**
 * Places of a task's life between two steps that must both happen: where a process can be made to die or to stand
 * still, to see that the other step happens all the same. In the order of that life.
 */
export const taskCrashPoints = [
  // private-api
  'post_stored',
  'post_committed',
  'ticket_assigned',
  'claim_committed',
  'output_stored',
  'settle_committed',
  // job-consumer
  'ticket_taken',
  'claim_won',
  'input_staged',
  'container_started',
  'container_ended',
  'output_sent',
  'settled',
] as const;

/** Likewise of a replica's, all of the job-consumer. */
const replicaCrashPoints = [
  'replica_ordered',
  'replica_model_there',
  'replica_network_made',
  'replica_created',
  'replica_started',
  'replica_serves',
  'replica_ended',
  'replica_removed',
] as const;

/** Likewise of an invocation that is stored, all of private-api. */
const invocationCrashPoints = ['content_stored', 'invocation_put'] as const;

export const crashPoints = [
  ...taskCrashPoints,
  ...replicaCrashPoints,
  ...invocationCrashPoints,
] as const;
export type CrashPoint = (typeof crashPoints)[number];

/** The setting, see {@link armCrashPoints}. */
export const CrashAt = Type.Optional(
  Type.String({ pattern: `^(?:${crashPoints.join('|')}|/.+)$` }),
);

let armed: string | undefined;

/**
 * Undefined: nothing happens at any point. The name of a point: the process dies there (SIGKILL). A
 * folder: at each point the file of its name is looked for, taken away, and the signal that it names is
 * sent to the process, so that a run can arm and disarm a process while it lives; before that the uid of
 * the task is written beside it, into `POINT.met`.
 */
export function armCrashPoints(setting: string | undefined): void {
  armed = setting;
}

/** `uid`: of the task or the replica, or the id of the invocation. */
export function crashPoint(point: CrashPoint, uid: string): void {
  if (armed === undefined) return;
  const signal = armed.startsWith('/') ? takeSignal(join(armed, point), uid) : undefined;
  if (signal !== undefined) process.kill(process.pid, signal);
  else if (armed === point) process.kill(process.pid, 'SIGKILL');
}

function takeSignal(file: string, taskUid: string): NodeJS.Signals | undefined {
  try {
    const signal = readFileSync(file, 'utf8') as NodeJS.Signals;
    unlinkSync(file);
    writeFileSync(`${file}.met`, taskUid);
    return signal;
  } catch {
    return undefined;
  }
}
