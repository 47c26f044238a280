import type { UserDetails, UserSettings } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Actor } from '../audit/repository.js';
import { hashPassword } from './password-hash.js';
import { requireStrongPassword } from './password-rules.js';
import type { UserRepository } from './repository.js';

export type UserService = ReturnType<typeof createUserService>;

export function createUserService({
  users,
  passwordCost,
}: {
  users: UserRepository;
  /** The `ln` of a new hash. */
  passwordCost: number;
}) {
  return {
    /** Throws VALIDATION_FAILED for a weak password, and for a new person without one or without role. */
    async put(userName: string, { password, role }: UserSettings, by: Actor): Promise<UserDetails> {
      if (password !== undefined) requireStrongPassword(password, userName);
      const passwordHash =
        password === undefined ? null : await hashPassword(password, passwordCost);
      const user = await users.put(userName, { passwordHash, role: role ?? null }, by);
      if (user !== undefined) return user;
      const parameter = password === undefined ? 'password' : 'role';
      throw new AppError(
        'VALIDATION_FAILED',
        `${parameter} is missing: nobody has this name yet.`,
        {
          extensions: { parameter },
        },
      );
    },

    list: (): Promise<UserDetails[]> => users.list(),

    async lock(userName: string, by: Actor): Promise<UserDetails> {
      const user = await users.lock(userName, by);
      if (user === undefined) throw new AppError('NOT_FOUND', 'There is nobody of this name.');
      return user;
    },
  };
}
