import type { ErrorCode } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  logInOperation,
  networkOf,
  stranger,
  type RefusalTally,
} from '@inference-server/service-kit';
import type { Actor, AuditRepository } from '../audit/repository.js';
import { hashPassword, isOfOtherCost, isPasswordOf } from '../users/password-hash.js';
import type { LivingUser, UserRepository } from '../users/repository.js';
import type { Login, LoginFailures } from './login-failures.js';
import type { LoginPlaces } from './login-places.js';

/** Hashes that are worked out side by side, each 64 MiB and a core; logins that wait for one, in all and of one address. */
const most = { atOnce: 2, waiting: 30, waitingOfAddress: 2 };

export type LogIn = (login: Login & { password: string }) => Promise<LivingUser>;

/**
 * Lets a person in by name and password. Throws LOGIN_FAILED, which does not tell what is wrong, and
 * TOO_MANY_REQUESTS after too many of these.
 */
export function createLogIn(deps: {
  users: UserRepository;
  failures: LoginFailures;
  places: LoginPlaces;
  audit: Pick<AuditRepository, 'write'>;
  refusals: Pick<RefusalTally, 'note'>;
  /** The `ln` of new hashes. */
  passwordCost: number;
}): LogIn {
  const { users, failures, places, audit, refusals, passwordCost } = deps;
  const inTurn = createTurns();
  /** A name that nobody has is not kept: it may be a password in the wrong field. */
  const noteRefusal = ({ userName, address }: Login, code: ErrorCode, isKnown: boolean): void => {
    const by = isKnown ? personOf({ userName, address }) : { ...stranger, address };
    refusals.note({ ...by, operation_id: logInOperation, code });
  };

  async function requireUnblocked(login: Login): Promise<void> {
    const blockedS = await failures.blockedS(login);
    if (blockedS === 0) return;
    noteRefusal(login, 'TOO_MANY_REQUESTS', false);
    throw new AppError('TOO_MANY_REQUESTS', 'Too many wrong passwords: try again later.', {
      retryAfterS: blockedS,
    });
  }

  return async (login) => {
    // Whoever is blocked takes nobody's turn.
    await requireUnblocked(login);
    return inTurn(networkOf(login.address), async () => {
      // Once more in turn, so that many at once are no way around it.
      await requireUnblocked(login);
      const user = (await users.findLiving([login.userName])).get(login.userName);
      const cost = { ln: passwordCost };
      if (!(await isPasswordOf(user?.passwordHash, login.password, cost)) || user === undefined) {
        await failures.note(login);
        noteRefusal(login, 'LOGIN_FAILED', user !== undefined);
        throw new AppError('LOGIN_FAILED', 'The user name or the password is wrong.');
      }
      await failures.forget(login);
      await places.note(login);
      if (isOfOtherCost(user.passwordHash, passwordCost)) {
        const renewed = await hashPassword(login.password, passwordCost);
        await users.renewHash(login.userName, user.passwordHash, renewed);
      }
      await users.noteLogin(login.userName);
      const object = { kind: 'user', id: login.userName } as const;
      await audit.write({ by: personOf(login), action: 'log_in', object });
      return user;
    });
  };
}

function personOf({ userName, address }: Login): Actor {
  const name = `user:${userName}`;
  return { owner: name, credential: name, address };
}

function createTurns() {
  let running = 0;
  const waiting: { network: string; begin: () => void }[] = [];
  return async <Result>(network: string, work: () => Promise<Result>): Promise<Result> => {
    if (running >= most.atOnce) {
      const ofNetwork = waiting.filter((other) => other.network === network).length;
      if (waiting.length >= most.waiting || ofNetwork >= most.waitingOfAddress) {
        throw new AppError('TOO_MANY_REQUESTS', 'Too many log in at once.', { retryAfterS: 2 });
      }
      await new Promise<void>((begin) => waiting.push({ network, begin }));
    } else running += 1;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next.begin();
    }
  };
}
