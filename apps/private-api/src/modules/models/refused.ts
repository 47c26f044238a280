import { AppError } from '@inference-server/errors';

/** Of a registration: which parameter is wrong, and why. */
export function refused(parameter: string, why: string): AppError {
  return new AppError('VALIDATION_FAILED', `${parameter} ${why}.`, { extensions: { parameter } });
}
