import { createHash } from 'node:crypto';
import Value from 'typebox/value';
import {
  errorCodes,
  isOipAddress,
  OipError,
  oipStatusOf,
  Problem,
  TaskReport,
  type ErrorCode,
  type RouteContract,
} from '@inference-server/contracts';
import { securityHeaders } from '@inference-server/service-kit';
import type { LaneAnswer } from './http-lane.js';
import type { RouteCase } from './route-draft.js';
import type { RouteScene } from './route-scene.js';

/** What any request may be answered, before its route is asked: of its head and its framing. */
const beforeRoutes: readonly ErrorCode[] = [
  'MALFORMED_REQUEST',
  'DUPLICATE_PARAMETER',
  'HEADERS_TOO_LARGE',
  'EXPECTATION_FAILED',
  'UNSUPPORTED_MEDIA_TYPE',
  'PAYLOAD_TOO_LARGE',
];

/** What an address that is not of the route may be answered. */
const elsewhere: readonly ErrorCode[] = ['NOT_FOUND', 'METHOD_NOT_ALLOWED'];

/** What is wrong with the answer; undefined: it is as the contract says. */
export function faultOfAnswer(
  made: RouteCase,
  answer: LaneAnswer,
  scene: RouteScene,
): string | undefined {
  const { status, headers } = answer;
  const lacking = Object.entries(securityHeaders).find(([name, is]) => headers.get(name) !== is);
  if (lacking !== undefined) return `no ${lacking[0]}`;
  const shown = JSON.stringify([...headers]) + answer.body.toString('latin1');
  if (shown.includes(scene.token)) return 'the token is shown';
  if (status === 500 || (status === 503 && !isWithoutReplica(made, answer))) {
    return 'a fault of the server';
  }
  if (status >= 400) return faultOfRefusal(made, answer);
  if (made.isElsewhere) return undefined;
  return made.method === 'HEAD' ? undefined : faultOfSuccess(made.contract, answer, scene);
}

/** No consumer of the scene hosts a model: the gateway says so itself. A HEAD has no body to say it in. */
function isWithoutReplica({ contract, method }: RouteCase, { body }: LaneAnswer): boolean {
  if (contract.servedBy === undefined) return false;
  const isSilent = method === 'HEAD' && body.length === 0;
  return isSilent || body.includes('"The model has no replica yet');
}

function faultOfRefusal(made: RouteCase, answer: LaneAnswer) {
  const isOip = isOipAddress(made.target) && !isUnread(made, answer);
  return isOip ? faultOfError(made, answer) : faultOfProblem(made, answer);
}

/** What cannot be read at all has no address yet. */
function isUnread({ method }: RouteCase, { headers, body }: LaneAnswer): boolean {
  if (headers.get('content-type')?.startsWith('application/problem+json') !== true) return false;
  if (method === 'HEAD' && body.length === 0) return true;
  return /"code":"(?:MALFORMED_REQUEST|HEADERS_TOO_LARGE)"/.test(body.toString());
}

/** Of an address that has another form of errors. */
function faultOfError(made: RouteCase, { status, headers, body }: LaneAnswer) {
  if (headers.get('content-type') !== 'application/json') return 'no body of an error';
  const known = codesOf(made).some((code) => oipStatusOf(code) === status);
  if (!known && !made.isElsewhere) return 'a status that the contract does not declare';
  if (made.method === 'HEAD' && body.length === 0) return undefined;
  const text = body.toString('utf8');
  if (!Value.Check(OipError, JSON.parse(text))) return 'no error';
  return /<[/!?\w]|zq7|\p{Cc}/u.test(text) ? 'an echo' : undefined;
}

function faultOfProblem(made: RouteCase, { status, headers, body }: LaneAnswer) {
  if (headers.get('content-type') !== 'application/problem+json; charset=utf-8') {
    return 'no problem body';
  }
  if (made.method === 'HEAD' && body.length === 0) {
    const known = codesOf(made).some((code) => errorCodes[code].status === status);
    return known || made.isElsewhere ? undefined : 'a status that the contract does not declare';
  }
  const text = body.toString('utf8');
  const problem: unknown = JSON.parse(text);
  if (!Value.Check({ TaskReport }, Problem, problem)) return 'no problem';
  const code = problem.code as ErrorCode;
  if (!(code in errorCodes)) return 'an unknown code';
  if (errorCodes[code].status !== status || problem.status !== status) return 'another status';
  // What a consumer says of a failed task is shown to whoever posted it, as it was said.
  const isOurs = code !== 'TASK_FAILED';
  if (isOurs && /<[/!?\w]|zq7|\p{Cc}/u.test(text)) return 'an echo';
  if (made.isElsewhere || codesOf(made).includes(code)) return undefined;
  return 'a code that the contract does not declare';
}

function codesOf({ contract, isElsewhere }: RouteCase): readonly ErrorCode[] {
  return [
    ...contract.errors,
    ...beforeRoutes,
    ...(isElsewhere ? elsewhere : []),
    // No consumer of the scene hosts a model.
    ...(contract.servedBy === undefined ? [] : (['SERVICE_UNAVAILABLE'] as const)),
  ];
}

function faultOfSuccess(
  { success }: RouteContract,
  { status, headers, body }: LaneAnswer,
  scene: RouteScene,
): string | undefined {
  const type = headers.get('content-type') ?? '';
  switch (success.kind) {
    case 'json': {
      if (status !== 200 || type !== 'application/json; charset=utf-8') return 'no JSON';
      const answer: unknown = JSON.parse(body.toString('utf8'));
      return Value.Check(success.schema, answer) ? undefined : 'not as the schema says';
    }
    case 'text':
      return status === 200 && type.startsWith('text/plain') ? undefined : 'no text';
    case 'lines': {
      if (status !== 200 || !type.startsWith('application/x-ndjson')) return 'no lines of JSON';
      const lines = body.toString('utf8').split('\n').slice(0, -1);
      const isValid = lines.every((line) => Value.Check(success.schema, JSON.parse(line)));
      return isValid ? undefined : 'not as the schema says';
    }
    case 'zip':
      if (status === 304) return body.length === 0 ? undefined : 'a 304 with a body';
      if (type !== 'application/zip') return 'no zip';
      return status === 200
        ? faultOfWhole(headers, body)
        : faultOfPart(status, headers, body, scene);
  }
}

function faultOfWhole(headers: LaneAnswer['headers'], body: Buffer): string | undefined {
  return headers.get('etag') === etagOf(body) ? undefined : 'bytes of another zip';
}

function faultOfPart(
  status: number,
  headers: LaneAnswer['headers'],
  body: Buffer,
  { output }: RouteScene,
): string | undefined {
  const [, start, end] = /^bytes (\d+)-(\d+)\/\d+$/.exec(headers.get('content-range') ?? '') ?? [];
  if (status !== 206 || start === undefined || end === undefined) return 'no part';
  if (Number(end) - Number(start) + 1 !== body.length) return 'a part of another length';
  if (headers.get('etag') !== etagOf(output)) return undefined;
  return output.subarray(Number(start), Number(end) + 1).equals(body) ? undefined : 'another part';
}

function etagOf(bytes: Buffer): string {
  return `"${createHash('sha256').update(bytes).digest('hex')}"`;
}
