import { AppError, messageOf, systemCode } from '@inference-server/errors';
import { EngineError, type EngineProblem } from '../engine-error.js';

/** dockerode's bare errors, and those of its connection, as EngineErrors. */
export function engineErrorOf(error: unknown, doing: string): AppError {
  if (error instanceof AppError) return error;
  const text = engineText(error);
  const detail = `${doing}: ${text}`;
  return new EngineError(problemOf(error, text), detail, { cause: error });
}

/** The engine has no status for it. */
export function tellsOfFullDisk(text: string): boolean {
  return /no space left on device|disk quota exceeded/i.test(text);
}

/** Some other network has some of it: of this engine, or, where it looks for that, of its host. */
export function tellsOfTakenSubnet(error: unknown): boolean {
  const text = messageOf(error);
  return /pool overlaps with|networks have (?:same|overlapping)|conflicts with network/i.test(text);
}

/**
 * An engine that was killed in the middle of a start may keep, below itself, a task that it knows nothing
 * of: the container can then be started by nobody (docker 20.10 with containerd 1.6).
 */
export function tellsOfLostTask(startError: string): boolean {
  return /\btask [0-9a-f]{64}: already exists/.test(startError);
}

/** Whatever was asked of it needs one that runs. */
export function tellsThatNoneRuns(text: string): boolean {
  return /\bcontainer \S+ is not running\b/i.test(text);
}

/** That a command could not be started lies with the command, not with its container. */
export function tellsOfNoProgram(text: string): boolean {
  return /exec: ".*": .*(not found in \$PATH|no such file or directory|permission denied|not a directory)/s.test(
    text,
  );
}

/** What the engine itself said, without dockerode's words around it. */
function engineText(error: unknown): string {
  return messageOf(error)
    .replace(/^\(HTTP code \d+\) .*? - /s, '')
    .trim();
}

function problemOf(error: unknown, text: string): EngineProblem {
  const { statusCode } = error as { statusCode?: number };
  if (tellsOfFullDisk(text)) return 'disk_full';
  // Of a network; older engines say that it is forbidden.
  if (/has active endpoints/i.test(text)) return 'in_use';
  switch (statusCode) {
    case undefined:
      return unreachableCodes.has(systemCode(error) ?? '') ? 'unreachable' : 'failed';
    case 400:
      return 'refused';
    case 404:
      return absentThing(text);
    case 409:
      return /name .* (?:is already in use|already exists)/i.test(text) ? 'name_in_use' : 'in_use';
    case 502:
    case 503:
    case 504:
      return 'unreachable';
    default:
      return 'failed';
  }
}

/** A 404's text tells what is missing; the order matters, for a path's text names the container. */
function absentThing(text: string): EngineProblem {
  if (/no such image/i.test(text)) return 'image_absent';
  if (/no such volume/i.test(text)) return 'volume_absent';
  if (/\bnetwork \S+ not found|no such network/i.test(text)) return 'network_absent';
  if (/could not find the file|no such file/i.test(text)) return 'path_absent';
  if (/no such container/i.test(text)) return 'container_absent';
  return 'failed';
}

const unreachableCodes = new Set([
  'EACCES',
  'EAI_AGAIN',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
  'ENOTFOUND',
  'EPIPE',
  'ETIMEDOUT',
  'ERR_STREAM_PREMATURE_CLOSE',
]);
