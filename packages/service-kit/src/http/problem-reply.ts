import { randomUUID } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  codeOfStatus,
  errorCodes,
  isOipAddress,
  oipStatusOf,
  type Problem,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { foreignName } from './foreign-name.js';
import { rateLimitHeaders } from './rate-limit-headers.js';
import { discardBody } from './request-body.js';
import { notStored, securityHeaders } from './security-headers.js';

export const problemType = 'application/problem+json; charset=utf-8';

/**
 * Answers with the problem body of whatever was thrown, or with that of the protocol that an address is of. Faults of
 * the server are logged.
 */
export function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const known = asAppError(error);
  const problem = problemOf(known);
  if (problem.error_id !== undefined) {
    request.log.error({ err: error, errorId: problem.error_id }, 'the request failed');
  }
  if (reply.raw.headersSent) {
    reply.raw.destroy();
    return;
  }
  if ((error as FrameworkError).code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    // Fastify would close the connection under the sender, who then never reads why.
    if (reply.raw.shouldKeepAlive) reply.removeHeader('connection');
    discardBody(request.raw);
  }
  // Here too: an address that cannot be read meets no hook.
  reply.headers({ ...securityHeaders, ...notStored });
  const { retryAfterS, extensions } = known;
  if (errorCodes[known.code].retryable || retryAfterS !== undefined) {
    reply.header('retry-after', retryAfterS ?? 1);
  }
  // Whoever counts at the door has told of all limits already.
  if (extensions.quota !== undefined && !reply.hasHeader('ratelimit')) {
    reply.headers(rateLimitHeaders([extensions.quota]));
  }
  // Who asks again may reach another process. A body that still comes keeps its connection.
  if (known.code === 'SERVICE_UNAVAILABLE' && request.raw.complete) {
    reply.header('connection', 'close');
  }
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer');
  if (isOipAddress(request.url)) {
    // As bytes: to a text Fastify would add its charset, which some of its clients take for another type.
    const body = Buffer.from(JSON.stringify({ error: oipErrorOf(problem) }));
    void reply.code(oipStatusOf(known.code)).type('application/json').send(body);
    return;
  }
  void reply.code(problem.status).type(problemType).send(JSON.stringify(problem));
}

/** The body for `error`; an INTERNAL one shows an id and nothing else. */
export function problemOf(error: AppError): Problem {
  const { status, title } = errorCodes[error.code];
  const internal = error.code === 'INTERNAL';
  return {
    type: 'about:blank',
    title,
    status,
    detail: internal ? 'The server failed; its log has the reason under error_id.' : error.message,
    code: error.code,
    ...(internal ? { error_id: randomUUID() } : error.extensions),
  };
}

function oipErrorOf({ detail, error_id: id }: Problem): string {
  return id === undefined ? detail : `${detail} error_id: ${id}`;
}

function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const foreign = error as FrameworkError;
  if (foreign.validation !== undefined) return validationError(foreign);
  const status = foreign.statusCode;
  if (status !== undefined && status >= 400 && status < 500) {
    const code = codeOfStatus(status);
    return new AppError(
      code,
      frameworkDetails[foreign.code ?? ''] ?? `${errorCodes[code].title}.`,
      {
        cause: error,
      },
    );
  }
  return new AppError('INTERNAL', 'unexpected', { cause: error });
}

interface FrameworkError {
  statusCode?: number;
  code?: string;
  validationContext?: string;
  validation?: {
    instancePath: string;
    message?: string;
    keyword: string;
    params: Record<string, unknown>;
  }[];
}

/** Names the parameter and the rule; never echoes the value. */
function validationError(error: FrameworkError): AppError {
  const [first] = error.validation ?? [];
  const { missingProperty: missing, additionalProperty: added } = first?.params ?? {};
  const place = first?.instancePath.slice(1).replaceAll('/', '.') ?? '';
  const raw = typeof missing === 'string' ? missing : place;
  const known = /^[\w.-]{1,100}$/.test(raw) ? raw : '(unprintable)';
  const parameter = typeof added === 'string' ? foreignName(added) : known;
  const rule = ruleOf(first?.keyword, first?.params ?? {}, first?.message ?? 'is not valid');
  // A path parameter that is out of form names no task: uids are random, so it cannot exist.
  if (error.validationContext === 'params' && parameter === 'uid') {
    return new AppError('TASK_NOT_FOUND', 'There is no such task.');
  }
  return new AppError('VALIDATION_FAILED', `${parameter} ${rule}.`, { extensions: { parameter } });
}

function ruleOf(keyword: string | undefined, params: Record<string, unknown>, message: string) {
  switch (keyword) {
    case 'required':
      return 'is missing';
    case 'additionalProperties':
      return 'is not a parameter of this route';
    case 'type':
      return `must be a ${String(params['type'])}`;
    case 'pattern':
      return 'is out of form';
    case 'const':
      return `must be ${String(params['allowedValue'])}`;
    case 'anyOf':
      return 'is none of the allowed values';
    default:
      return message;
  }
}

const frameworkDetails: Record<string, string> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'The content type of the body is not accepted here.',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'The JSON body is empty.',
  FST_ERR_CTP_INVALID_JSON_BODY: 'The body is not JSON.',
  FST_ERR_CTP_BODY_TOO_LARGE: 'The body is too large.',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'The body does not have the length that was declared.',
};
