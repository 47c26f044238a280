import type { FastifyInstance, FastifyRequest } from 'fastify';
import { maxRefusals, type ErrorCode, type Refusal } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import type { Logger } from '../logger.js';

/** What counts as an attempt to get at what one may not. */
const counted: ReadonlySet<ErrorCode> = new Set(['UNAUTHORIZED', 'FORBIDDEN', 'TOO_MANY_REQUESTS']);

const everyMs = 1_000;

export interface RefusalTally {
  note(refusal: Omit<Refusal, 'times'>): void;
  /** Tells what is left. */
  close(): Promise<void>;
}

/**
 * Collects refused attempts for the audit. Those of one kind, by one caller from one address, within a second
 * are one: whoever knocks ten thousand times fills no disk. While they cannot be told they are kept, as many
 * kinds as can be told at once; of what comes beyond only the number is logged.
 */
export function createRefusalTally({
  tell,
  logger,
}: {
  tell: (refusals: Refusal[]) => Promise<void>;
  logger: Logger;
}): RefusalTally {
  let kept = new Map<string, Refusal>();
  let dropped = 0;
  let timer: NodeJS.Timeout | undefined;
  let telling: Promise<void> = Promise.resolve();

  async function flush(): Promise<void> {
    timer = undefined;
    if (dropped > 0) logger.warn({ attempts: dropped }, 'refused attempts are not in the audit');
    dropped = 0;
    const told = kept;
    kept = new Map();
    if (told.size === 0) return;
    try {
      await tell([...told.values()]);
    } catch (error) {
      logger.debug({ reason: messageOf(error) }, 'refused attempts are told later');
      for (const refusal of told.values()) add(refusal);
      later();
    }
  }

  function later(): void {
    timer ??= setTimeout(() => (telling = flush()), everyMs);
  }

  function add(refusal: Refusal): void {
    const { credential, address, operation_id, code, times } = refusal;
    const kind = JSON.stringify([credential, address, operation_id, code]);
    const before = kept.get(kind);
    if (before !== undefined) before.times += times;
    else if (kept.size < maxRefusals) kept.set(kind, refusal);
    else dropped += times;
  }

  return {
    note(refusal) {
      add({ ...refusal, times: 1 });
      later();
    },
    async close() {
      clearTimeout(timer);
      await telling;
      await flush();
      clearTimeout(timer);
    },
  };
}

/** Has every refusal of `app` counted; `credentialOf`: what was shown, as far as it was known. */
export function tallyRefusals(
  app: FastifyInstance,
  tally: RefusalTally,
  credentialOf: (request: FastifyRequest) => string | undefined,
): void {
  app.addHook('onError', async (request, _reply, error) => {
    if (!(error instanceof AppError) || !counted.has(error.code)) return;
    tally.note({
      credential: credentialOf(request) ?? 'unknown',
      address: request.ip,
      operation_id: request.routeOptions.config.contract?.operationId ?? 'none',
      code: error.code,
    });
  });
}
