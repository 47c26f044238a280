import { errorCodes, type ErrorCode } from './codes.js';

/**
 * Whether an address is of the Open Inference Protocol. Its clients look for an error as {"error": "…"}, under a
 * status that any server has: nothing there is told as a problem.
 */
export function isOipAddress(url: string): boolean {
  return /^\/v2(?:[/?]|$)/.test(url);
}

/** The status of an error there. */
export function oipStatusOf(code: ErrorCode): number {
  return statuses[code] ?? errorCodes[code].status;
}

const statuses: Partial<Record<ErrorCode, number>> = {
  VALIDATION_FAILED: 400,
  MODEL_NOT_FOUND: 404,
};
