import type { HeldAttempt } from '../private-api-client.js';

/** Of a zip on its way into a volume. */
export function spoolName({ taskUid, attempt }: HeldAttempt, kind: 'input' | 'model'): string {
  return `${taskUid}-${attempt}-${kind}`;
}
