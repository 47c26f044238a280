import {
  anonymousOwner,
  includesRole,
  type CallerIdentity,
  type IdentifiedBearer,
  type IdentifiedCaller,
  type IssuedToken,
  type Role,
  type ShownCredential,
  type TokenRequest,
} from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Queryable } from '../../database/database.js';
import type { AuditRepository } from '../audit/repository.js';
import { isSecretOf, readKey } from '../keys/key-text.js';
import type { KeyRepository, LivingKey } from '../keys/repository.js';
import { modelNotFound, type ModelRepository } from '../models/repository.js';
import type { UserRepository } from '../users/repository.js';
import { createAccessTokens, type TokenClaims } from './access-token.js';
import type { LogIn } from './login.js';

export type CallerService = ReturnType<typeof createCallerService>;

/** What a credential is good for at the moment. */
interface Standing {
  owner: string;
  role: Role;
  /** Of a person: since when it is their password (s since 1970); of a key: null. */
  passwordAt: number | null;
}

/** Says who somebody from outside is: by key, by token, or by name and password. */
export function createCallerService(deps: {
  keys: KeyRepository;
  users: UserRepository;
  models: Pick<ModelRepository, 'find'>;
  clock: Queryable;
  logIn: LogIn;
  audit: Pick<AuditRepository, 'write'>;
  /** That tokens are signed with. */
  secret: string;
  logger: Logger;
}) {
  const { keys, users, logIn, logger } = deps;
  const tokens = createAccessTokens(deps.secret);

  return {
    /** Throws UNAUTHORIZED, LOGIN_FAILED, TOO_MANY_REQUESTS. */
    async identify(shown: ShownCredential): Promise<IdentifiedCaller> {
      const { address } = shown;
      if (!('bearer' in shown)) {
        const { role } = await logIn({ userName: shown.user_name, ...shown });
        const credential = `user:${shown.user_name}`;
        return { owner: credential, role, credential, address, human_readable_id: null };
      }
      const [found] = await whoShow([shown.bearer]);
      if (found === undefined) throw unknown();
      return { ...found, address };
    },

    /** Of each in its order; null: nobody's. */
    async identifyBearers(bearers: readonly string[]): Promise<(IdentifiedBearer | null)[]> {
      return (await whoShow(bearers)).map((found) => found ?? null);
    },

    /**
     * A token of whoever calls, or of the person whose name and password come along. Throws
     * LOGIN_FAILED, FORBIDDEN, MODEL_NOT_FOUND.
     */
    async issueToken(
      { user_name, password, human_readable_id, role = 'submit', expires_in_s = 900 }: TokenRequest,
      caller: CallerIdentity,
    ): Promise<IssuedToken> {
      if ((user_name === undefined) !== (password === undefined)) {
        throw new AppError('VALIDATION_FAILED', 'user_name and password come together.', {
          extensions: { parameter: user_name === undefined ? 'user_name' : 'password' },
        });
      }
      const held =
        user_name === undefined || password === undefined
          ? { ...caller, passwordAt: null }
          : {
              ...(await logIn({ userName: user_name, password, address: caller.address })),
              owner: `user:${user_name}`,
              credential: `user:${user_name}`,
            };
      if (held.credential === anonymousOwner) {
        throw new AppError('LOGIN_FAILED', 'Show a key, or send user_name and password.');
      }
      if (!includesRole(held.role, role)) {
        throw new AppError('FORBIDDEN', `The role ${role} is more than the caller has.`);
      }
      if (human_readable_id !== undefined && !(await deps.models.find(human_readable_id))) {
        throw modelNotFound();
      }
      const { owner, credential } = held;
      const model = human_readable_id ?? null;
      await deps.audit.write({
        by: { owner, credential, address: caller.address },
        action: 'issue_token',
        object: { kind: model === null ? 'none' : 'model', id: model },
        details: { role, expires_in_s },
      });
      const expiresAt = (await now()) + expires_in_s;
      return {
        token: tokens.write({
          c: credential,
          r: role,
          m: model,
          p: held.passwordAt,
          e: expiresAt,
        }),
        role,
        expires_at: new Date(expiresAt * 1000).toISOString(),
      };
    },

    hasKeys: () => keys.hasKeys(),
  };

  /** Who shows each, in one question for all; undefined: nobody's. */
  async function whoShow(bearers: readonly string[]): Promise<(IdentifiedBearer | undefined)[]> {
    const shown = bearers.map((bearer) => ({ key: readKey(bearer), claims: tokens.read(bearer) }));
    const made = shown.map(({ key, claims }) => (key ? `key:${key.id}` : claims?.c)).map(kindOf);
    const namesOf = (wanted: string) => [
      ...new Set(made.flatMap(({ kind, name }) => (kind === wanted ? name : []))),
    ];
    const at = shown.some(({ claims }) => claims) ? await now() : 0;
    const [livingKeys, livingUsers] = await Promise.all([
      keys.findLiving(namesOf('key')),
      users.findLiving(namesOf('user')),
    ]);
    const found = shown.map(({ key, claims }) => {
      if (key) return byKey(key, livingKeys.get(key.id));
      return claims && claims.e > at ? byToken(claims, standingOf(claims)) : undefined;
    });
    await noteUse(shown.flatMap(({ key }, n) => (key && found[n] ? key.id : [])));
    return found;

    /** Undefined: what the token was made with opens nothing any more. */
    function standingOf({ c: credential }: TokenClaims): Standing | undefined {
      const { kind, name } = kindOf(credential);
      const key = kind === 'key' ? livingKeys.get(name) : undefined;
      if (key) return { owner: key.owner, role: key.role, passwordAt: null };
      const user = kind === 'user' ? livingUsers.get(name) : undefined;
      return user && { owner: credential, role: user.role, passwordAt: user.passwordAt };
    }
  }

  /** Nobody waits for it in vain: a key opens, be its use noted or not. */
  async function noteUse(ids: readonly string[]): Promise<void> {
    await keys.noteUse(ids).catch((error: unknown) => {
      logger.warn({ reason: messageOf(error) }, 'the use of a key could not be noted');
    });
  }

  /** By the database's clock (s since 1970). */
  async function now(): Promise<number> {
    const [row] = await deps.clock.query<{ now: number }>(
      `SELECT extract(epoch FROM now())::float8 AS now`,
    );
    if (row === undefined) throw new AppError('INTERNAL', 'the database did not tell the time');
    return row.now;
  }
}

/** Of `key:<id>`, `user:<name>`. */
function kindOf(credential = ''): { kind: string; name: string } {
  const [kind = '', name = ''] = credential.split(/:(.*)/s);
  return { kind, name };
}

function byKey(
  { id, secret }: { id: string; secret: string },
  key: LivingKey | undefined,
): IdentifiedBearer | undefined {
  if (key === undefined || !isSecretOf(key.secretSha256, secret)) return undefined;
  const { owner, role } = key;
  return { owner, role, credential: `key:${id}`, human_readable_id: null };
}

function byToken(
  claims: TokenClaims,
  standing: Standing | undefined,
): IdentifiedBearer | undefined {
  if (standing === undefined || standing.passwordAt !== claims.p) return undefined;
  return {
    owner: standing.owner,
    // What it was made with may do less by now.
    role: includesRole(standing.role, claims.r) ? claims.r : standing.role,
    credential: claims.c,
    human_readable_id: claims.m,
  };
}

function unknown(): AppError {
  // By the parameter a door tells it from a refusal of its own token.
  return new AppError('UNAUTHORIZED', 'The credentials are not known.', {
    extensions: { parameter: 'credential' },
  });
}
