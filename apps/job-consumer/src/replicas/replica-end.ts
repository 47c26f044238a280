import { EngineError, type ContainerExit } from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import { causeOf } from '../run/fault-cause.js';
import { fault, type Outcome } from '../run/outcome.js';
import type { ReplicaEnding } from './replica-run.js';

/** As private-api is told of it, but for the log. */
export type EndWithoutLog = Omit<ReplicaEnding, 'log'>;

/** What kept it from being started, or ended it, in the words of the phases that attempts have too. */
export function endOf(outcome: Outcome): EndWithoutLog {
  const ended = { detail: outcome.detail, exit_code: outcome.exitCode, out_of_memory: false };
  if (outcome.kind === 'failed') {
    return { reason: outcome.reason === 'image_unavailable' ? 'image' : 'start_failed', ...ended };
  }
  if (outcome.kind === 'fault' && outcome.cause === 'registry_away') {
    return { reason: 'image', ...ended };
  }
  return { reason: outcome.kind === 'released' ? 'start_failed' : 'engine', ...ended };
}

/** It could not be begun for want of something that this consumer has no more of: nothing has failed. */
export function lacking(detail: string): Outcome {
  return { kind: 'released', detail, exitCode: null };
}

/** A zip that nobody can unpack is its model's fault, all else what it is for an attempt. */
export function outcomeOfError(error: unknown): Outcome {
  const code = (error as { code?: unknown }).code;
  if (!(error instanceof EngineError) && code === 'ZIP_REFUSED') {
    return { kind: 'failed', reason: 'bad_input', detail: messageOf(error), exitCode: null };
  }
  return fault(causeOf(error), messageOf(error));
}

/** `isUnwatched`: it ran under an earlier process for a while, when nobody saw who signalled it. */
export function endOfExit(
  { exitCode, outOfMemory, startError, interrupted }: ContainerExit,
  { hadServed, isUnwatched }: { hadServed: boolean; isUnwatched: boolean },
): EndWithoutLog {
  const ended = { exit_code: exitCode, out_of_memory: false };
  if (outOfMemory && !(interrupted && exitCode === terminated)) {
    const detail = `The container used more memory than it may (exit code ${exitCode}).`;
    return { reason: 'exited', detail, exit_code: exitCode, out_of_memory: true };
  }
  if (interrupted || (isUnwatched && [killed, terminated].includes(exitCode))) {
    const detail = `The container was interrupted from outside (exit code ${exitCode}).`;
    return { reason: 'engine', detail, ...ended };
  }
  if (startError !== undefined) {
    const detail = `The container could not be started: ${startError}`;
    return { reason: 'start_failed', detail, ...ended };
  }
  const when = hadServed ? '' : ' before it served';
  const why = exitCode === killed ? ': it was killed, as the kernel does for want of memory' : '';
  const detail = `The container ended with exit code ${exitCode}${when}${why}.`;
  return { reason: 'exited', detail, ...ended };
}

/** PostgreSQL takes no NUL in a text, and no half of a surrogate pair, which a cut may leave. */
export function toEnding(end: EndWithoutLog, log: string): ReplicaEnding {
  const storable = (text: string) =>
    text.replaceAll('\0', '\uFFFD').replaceAll(/\p{Surrogate}/gu, '');
  const detail = storable(end.detail.slice(0, 1_000));
  return { ...end, detail, log: storable(log.slice(-maxLogLength)) };
}

/** As long as one may be that is reported. */
export const maxLogLength = 65_536;

/** 128 and the numbers of SIGKILL and SIGTERM. */
const killed = 137;
const terminated = 143;
