import { AppError } from '@inference-server/errors';
import type { AuditRepository } from '../audit/repository.js';
import { isPasswordOf } from '../users/password-hash.js';
import type { LivingUser, UserRepository } from '../users/repository.js';
import type { Login, LoginFailures } from './login-failures.js';

/** Hashes that are worked out side by side, each 64 MiB and a core; and logins that wait for one. */
const most = { atOnce: 2, waiting: 30 };

export type LogIn = (login: Login & { password: string }) => Promise<LivingUser>;

/**
 * Lets a person in by name and password. Throws LOGIN_FAILED, which does not tell what is wrong, and
 * TOO_MANY_REQUESTS after too many of these.
 */
export function createLogIn(deps: {
  users: UserRepository;
  failures: LoginFailures;
  audit: Pick<AuditRepository, 'write'>;
  /** The `ln` of new hashes. */
  passwordCost: number;
}): LogIn {
  const { users, failures, audit, passwordCost } = deps;
  const note = ({ userName, address }: Login, refusal?: string) => {
    const name = `user:${userName}`;
    const by = { owner: name, credential: name, address };
    const object = { kind: 'user', id: userName } as const;
    return audit.write({ by, action: 'log_in', object, ...(refusal && { refusal }) });
  };
  const inTurn = createTurns();

  return (login) =>
    inTurn(async () => {
      // In turn, so that many at once are no way around it.
      const blockedS = await failures.blockedS(login);
      if (blockedS > 0) {
        throw new AppError('TOO_MANY_REQUESTS', 'Too many wrong passwords: try again later.', {
          retryAfterS: blockedS,
        });
      }
      const user = await users.findLiving(login.userName);
      const cost = { ln: passwordCost };
      if (!(await isPasswordOf(user?.passwordHash, login.password, cost)) || user === undefined) {
        await failures.note(login);
        await note(login, 'LOGIN_FAILED');
        throw new AppError('LOGIN_FAILED', 'The user name or the password is wrong.');
      }
      await failures.forget(login);
      await users.noteLogin(login.userName);
      await note(login);
      return user;
    });
}

function createTurns() {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async <Result>(work: () => Promise<Result>): Promise<Result> => {
    if (running >= most.atOnce) {
      if (waiting.length >= most.waiting) {
        throw new AppError('TOO_MANY_REQUESTS', 'Too many log in at once.', { retryAfterS: 2 });
      }
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else running += 1;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}
