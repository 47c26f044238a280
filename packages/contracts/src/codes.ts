/**
 * Every code that an error body can carry, with the HTTP status it is sent under and whether the
 * same request may succeed later. 550–554 are the statuses of the original InferenceServer.
 */
export const errorCodes = {
  MALFORMED_REQUEST: { status: 400, title: 'Malformed request', retryable: false },
  DUPLICATE_PARAMETER: { status: 400, title: 'Parameter given twice', retryable: false },
  UNAUTHORIZED: { status: 401, title: 'Credentials missing or wrong', retryable: false },
  LOGIN_FAILED: { status: 401, title: 'Login failed', retryable: false },
  FORBIDDEN: { status: 403, title: 'Not allowed', retryable: false },
  QUOTA_EXCEEDED: { status: 403, title: 'Quota used up', retryable: false },
  NOT_FOUND: { status: 404, title: 'Nothing at this address', retryable: false },
  INVOCATION_NOT_FOUND: { status: 404, title: 'Invocation not found', retryable: false },
  METHOD_NOT_ALLOWED: { status: 405, title: 'Method not allowed', retryable: false },
  UPLOAD_TOO_SLOW: { status: 408, title: 'Upload too slow', retryable: false },
  MODEL_EXISTS: { status: 409, title: 'Model exists', retryable: false },
  CONSUMER_EXISTS: { status: 409, title: 'Consumer exists', retryable: false },
  DEVICE_TAKEN: { status: 409, title: 'Device taken', retryable: true },
  TASK_ENDED: { status: 409, title: 'Task has ended', retryable: false },
  IDEMPOTENCY_KEY_REUSED: { status: 409, title: 'Idempotency key reused', retryable: false },
  CONFLICT: { status: 409, title: 'Conflict', retryable: false },
  PRECONDITION_FAILED: { status: 412, title: 'Precondition failed', retryable: false },
  PAYLOAD_TOO_LARGE: { status: 413, title: 'Body too large', retryable: false },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'Unsupported media type', retryable: false },
  RANGE_NOT_SATISFIABLE: { status: 416, title: 'Range not satisfiable', retryable: false },
  EXPECTATION_FAILED: { status: 417, title: 'Expectation failed', retryable: false },
  VALIDATION_FAILED: { status: 422, title: 'Invalid parameter', retryable: false },
  INVALID_FORM: { status: 422, title: 'Invalid form', retryable: false },
  ZIP_REFUSED: { status: 422, title: 'Zip refused', retryable: false },
  TOO_MANY_REQUESTS: { status: 429, title: 'Too many requests', retryable: true },
  HEADERS_TOO_LARGE: { status: 431, title: 'Headers too large', retryable: false },
  INTERNAL: { status: 500, title: 'Internal error', retryable: false },
  MODEL_ERROR: { status: 502, title: 'The model failed', retryable: false },
  SERVICE_UNAVAILABLE: { status: 503, title: 'Service unavailable', retryable: true },
  DEADLINE_EXCEEDED: { status: 504, title: 'Not answered in time', retryable: true },
  STORAGE_FULL: { status: 507, title: 'Storage full', retryable: true },
  MODEL_NOT_FOUND: { status: 550, title: 'Model not found', retryable: false },
  TASK_PENDING: { status: 551, title: 'Task pending', retryable: true },
  TASK_FAILED: { status: 552, title: 'Task failed', retryable: false },
  OUTPUT_NOT_FOUND: { status: 553, title: 'Output not found', retryable: false },
  LOG_NOT_FOUND: { status: 553, title: 'Log not found', retryable: false },
  TASK_NOT_FOUND: { status: 554, title: 'Task not found', retryable: false },
} as const satisfies Record<string, { status: number; title: string; retryable: boolean }>;

export type ErrorCode = keyof typeof errorCodes;

/** The code whose status a foreign HTTP error (a framework's, a proxy's) is reported under. */
export function codeOfStatus(status: number): ErrorCode {
  const found = statusDefaults[status];
  if (found !== undefined) return found;
  return status >= 400 && status < 500 ? 'MALFORMED_REQUEST' : 'INTERNAL';
}

const statusDefaults: Record<number, ErrorCode> = {
  401: 'UNAUTHORIZED',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  405: 'METHOD_NOT_ALLOWED',
  408: 'UPLOAD_TOO_SLOW',
  409: 'CONFLICT',
  412: 'PRECONDITION_FAILED',
  413: 'PAYLOAD_TOO_LARGE',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  416: 'RANGE_NOT_SATISFIABLE',
  417: 'EXPECTATION_FAILED',
  422: 'VALIDATION_FAILED',
  429: 'TOO_MANY_REQUESTS',
  431: 'HEADERS_TOO_LARGE',
  503: 'SERVICE_UNAVAILABLE',
  507: 'STORAGE_FULL',
};
