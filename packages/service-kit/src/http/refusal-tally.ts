import { isIP } from 'node:net';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  anonymousOwner,
  maxRefusals,
  type CallerIdentity,
  type ErrorCode,
  type Refusal,
} from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import type { Logger } from '../logger.js';

/** What counts as an attempt at what one may not do, or may not know of. */
const counted: ReadonlySet<ErrorCode> = new Set(['UNAUTHORIZED', 'FORBIDDEN', 'TASK_NOT_FOUND']);

/** Of strangers, and of those who are known: who has no credential cannot drown the attempts of one. */
const mostKinds = maxRefusals / 3;

export interface RefusalTally {
  note(refusal: Omit<Refusal, 'times'>): void;
  /** Tells what is left. */
  close(): Promise<void>;
}

/**
 * Collects refused attempts for the audit. Those that are alike are one within `everyMs`, and so are, code by
 * code, those beyond {@link mostKinds} kinds: a flood fills no disk, however many addresses it has, and is
 * counted. While they cannot be told they are kept. A process that is killed takes the last minute with it.
 */
export function createRefusalTally({
  tell,
  logger,
  everyMs = 60_000,
}: {
  tell: (refusals: Refusal[]) => Promise<void>;
  logger: Logger;
  everyMs?: number;
}): RefusalTally {
  const strangers = new Map<string, Refusal>();
  const known = new Map<string, Refusal>();
  let timer: NodeJS.Timeout | undefined;
  let telling: Promise<void> = Promise.resolve();
  let isClosed = false;

  async function flush(): Promise<void> {
    timer = undefined;
    const told = [...known.values(), ...strangers.values()];
    known.clear();
    strangers.clear();
    if (told.length === 0) return;
    try {
      await tell(told);
    } catch (error) {
      const reason = messageOf(error);
      if (isClosed) {
        const attempts = told.reduce((sum, { times }) => sum + times, 0);
        logger.warn({ attempts, reason }, 'refused attempts are not in the audit');
        return;
      }
      logger.debug({ reason }, 'refused attempts are told later');
      for (const refusal of told) add(refusal);
      later();
    }
  }

  function later(): void {
    if (isClosed) return;
    timer ??= setTimeout(() => {
      telling = flush();
    }, everyMs).unref();
  }

  function add(refusal: Refusal): void {
    const those = isProven(refusal) ? known : strangers;
    const { code, times } = refusal;
    const one = those.has(kindOf(refusal)) || those.size < mostKinds;
    const noted = one
      ? refusal
      : { ...(those === known ? several : severalStrangers), code, times };
    const before = those.get(kindOf(noted));
    if (before === undefined) those.set(kindOf(noted), noted);
    else before.times = Math.min(before.times + times, most);
  }

  return {
    note(refusal) {
      // As long as a proxy that is believed says so, it is anything.
      const address = isIP(refusal.address) === 0 ? 'unknown' : refusal.address;
      add({ ...refusal, address, times: 1 });
      later();
    },
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await telling;
      await flush();
    },
  };
}

/** Who showed nothing that is known. */
export const stranger = { owner: 'unknown', credential: 'unknown' };

/** The `operation_id` of a name and password that were wrong, or came too often. */
export const logInOperation = 'logIn';

/** Whether it was really them: a name that failed to log in anybody can say. */
function isProven({ owner, operation_id }: Refusal): boolean {
  return operation_id !== logInOperation && owner !== stranger.owner && owner !== anonymousOwner;
}

const several = {
  owner: 'several',
  credential: 'several',
  address: 'several',
  operation_id: 'several',
};
const severalStrangers = { ...several, ...stranger };

/** That the database counts. */
const most = 2 ** 31 - 1;

function kindOf({ owner, credential, address, operation_id, code }: Refusal): string {
  return JSON.stringify([owner, credential, address, operation_id, code]);
}

/** Has every refusal of `app` noted; `callerOf`: who was refused; undefined: others note it. */
export function tallyRefusals(
  app: FastifyInstance,
  tally: RefusalTally,
  callerOf: (
    request: FastifyRequest,
  ) => Pick<CallerIdentity, 'owner' | 'credential' | 'address'> | undefined,
): void {
  app.addHook('onError', async (request, _reply, error) => {
    if (!(error instanceof AppError) || !counted.has(error.code)) return;
    const caller = callerOf(request);
    if (caller === undefined) return;
    const { owner, credential, address } = caller;
    const { operationId = 'none' } = request.routeOptions.config.contract ?? {};
    tally.note({ owner, credential, address, operation_id: operationId, code: error.code });
  });
}
