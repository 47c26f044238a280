/** The status of a call, by the names and numbers that gRPC gives them. */
export const statusCodes = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type StatusName = keyof typeof statusCodes;

const names = Object.keys(statusCodes) as StatusName[];

/** A number that means nothing is UNKNOWN, as gRPC wants it. */
export function statusNameOf(code: number): StatusName {
  return names[code] ?? 'UNKNOWN';
}

/** What an HTTP status says of a call, where whoever answered speaks no gRPC (a proxy). */
export function statusOfHttp(status: number): StatusName {
  return ofHttp[status] ?? 'UNKNOWN';
}

const ofHttp: Record<number, StatusName> = {
  400: 'INTERNAL',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'UNIMPLEMENTED',
  429: 'UNAVAILABLE',
  502: 'UNAVAILABLE',
  503: 'UNAVAILABLE',
  504: 'UNAVAILABLE',
};
