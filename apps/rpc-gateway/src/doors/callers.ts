import {
  anonymousOwner,
  hasFormOfCredential,
  includesRole,
  type CallerIdentity,
  type ErrorCode,
  type IdentifiedCaller,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { CallHead } from '@inference-server/grpc';
import {
  createAddressReader,
  createRefusalLimit,
  createRevocationWatch,
  isLoopbackAddress,
  stranger,
  type CallerDirectory,
  type RefusalTally,
} from '@inference-server/service-kit';
import type { RpcGatewayConfig } from '../config.js';

/** Who calls at a door, and for how long that is good. */
export interface Admitted {
  /** Of a token that opens one model alone: which. */
  onlyModel: string | null;
  caller: CallerIdentity;
  /** Undefined: an anonymous caller's. */
  bearer: string | undefined;
  /** What the audit calls that which is done. */
  operation: string;
}

/** What tells of a call who makes it, and what it is. */
type Shown = Pick<CallHead, 'path' | 'peerAddress' | 'authority' | 'metadata'>;

export interface Callers {
  /** Throws UNAUTHORIZED, FORBIDDEN, TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE. */
  admit(head: Shown): Promise<Admitted>;
  /** The same of what a message shows, whatever the head does. */
  admitBearer(head: Shown, bearer: string): Promise<Admitted>;
  /** Who says name and password in a message, as far as it is known before these are looked at. Throws FORBIDDEN. */
  admitLogin(head: Shown): Promise<CallerIdentity>;
  /** Aborts when what was shown is good no more; `end` when the call is over. */
  watch(admitted: Admitted): { revoked: AbortSignal | undefined; end: () => void };
  /** Throws FORBIDDEN where the token is for another model. */
  requireModel(admitted: Admitted, name: string): void;
  close(): void;
}

/** The access of doors that have metadata: `authorization: Bearer KEY` or `x-token: KEY`. */
export function createCallers({
  directory,
  anonymousRole,
  isExposed,
  trustedProxies,
  refusalsPerAddress,
  refusals,
}: Pick<
  RpcGatewayConfig,
  'anonymousRole' | 'isExposed' | 'trustedProxies' | 'refusalsPerAddress'
> & {
  directory: CallerDirectory;
  refusals: RefusalTally;
}): Callers {
  const watch = createRevocationWatch(directory);
  const readAddress = createAddressReader(trustedProxies);
  const guesses = createRefusalLimit(refusalsPerAddress);
  const addressOf = ({ peerAddress, metadata }: Shown) =>
    readAddress(peerAddress, metadata['x-forwarded-for']);

  /** Where much was shown that opens nothing, only what has opened lately is looked at. */
  async function identify(bearer: string, address: string): Promise<IdentifiedCaller> {
    if (!hasFormOfCredential(bearer)) throw unknown();
    if (!directory.hasOpened(bearer)) guesses.requireFew(address);
    try {
      return await directory.identify(bearer, address);
    } catch (error) {
      if (error instanceof AppError && error.code === 'UNAUTHORIZED') guesses.count(address);
      throw error;
    }
  }

  function note(
    code: ErrorCode,
    operation: string,
    { owner, credential, address }: Pick<CallerIdentity, 'owner' | 'credential' | 'address'>,
  ) {
    refusals.note({ owner, credential, address, operation_id: operation, code });
  }

  /** Has a refusal of `who` noted. */
  async function noting<Result>(
    operation: string,
    who: () => Parameters<typeof note>[2],
    act: () => Promise<Result>,
  ): Promise<Result> {
    try {
      return await act();
    } catch (error) {
      if (error instanceof AppError && refused.has(error.code)) note(error.code, operation, who());
      throw error;
    }
  }

  async function requireSetUp(): Promise<void> {
    if (!isExposed || (await directory.hasKeys())) return;
    throw new AppError(
      'FORBIDDEN',
      'This server is not set up yet: an operator must make the first key.',
    );
  }

  async function admitAs(
    head: Shown,
    shownIn: (head: Shown) => string | undefined,
  ): Promise<Admitted> {
    const from = addressOf(head);
    const operation = operationOf(head);
    let caller: CallerIdentity | undefined;
    return noting(
      operation,
      () => caller ?? { ...stranger, address: from },
      async () => {
        await requireSetUp();
        const bearer = shownIn(head);
        if (bearer === undefined) {
          return { caller: anonymous(head, anonymousRole), onlyModel: null, bearer, operation };
        }
        const { owner, role, credential, address, ...identified } = await identify(bearer, from);
        caller = { owner, role, credential, address };
        if (!includesRole(role, 'submit')) {
          throw new AppError('FORBIDDEN', 'This needs the role submit.');
        }
        return { caller, onlyModel: identified.human_readable_id, bearer, operation };
      },
    );
  }

  return {
    admit: (head) => admitAs(head, bearerOf),
    admitBearer: (head, bearer) => admitAs(head, () => bearer),

    async admitLogin(head) {
      const address = addressOf(head);
      await noting(operationOf(head), () => ({ ...stranger, address }), requireSetUp);
      return { owner: anonymousOwner, credential: anonymousOwner, role: 'submit', address };
    },

    watch({ bearer, caller }) {
      if (bearer === undefined) return { revoked: undefined, end: () => undefined };
      return watch.begin(bearer, caller);
    },

    requireModel({ onlyModel, caller, operation }, name) {
      if (onlyModel === null || onlyModel === name) return;
      note('FORBIDDEN', operation, caller);
      throw new AppError('FORBIDDEN', 'The token is for one model, and for nothing else.');
    },

    close: () => watch.close(),
  };
}

const refused: ReadonlySet<ErrorCode> = new Set(['UNAUTHORIZED', 'FORBIDDEN']);

/** The name of the method, as those of routes are: streamInfer, modelInfer. */
function operationOf({ path }: Shown): string {
  const words = path.slice(path.lastIndexOf('/') + 1).split('_');
  const name = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
  return name.charAt(0).toLowerCase() + name.slice(1);
}

/** Undefined: nothing is shown. What is out of form, or two that differ, is nobody's. */
function bearerOf({ metadata }: Shown): string | undefined {
  const { authorization, 'x-token': token } = metadata;
  const isToken = token !== undefined && /^\S{1,2000}$/.test(token);
  const bearer = /^Bearer +(\S{1,2000})$/i.exec(authorization ?? '')?.[1];
  const isOutOfForm = authorization !== undefined && bearer === undefined;
  if (isOutOfForm || (token !== undefined && !isToken)) throw unknown();
  if (bearer !== undefined && isToken && token !== bearer) throw unknown();
  return bearer ?? (isToken ? token : undefined);
}

/** A caller who shows nothing calls from this machine, by a name of it, and through no proxy. */
function anonymous(
  { peerAddress, authority, metadata }: Shown,
  role: RpcGatewayConfig['anonymousRole'],
): CallerIdentity {
  if (role === 'none') throw new AppError('UNAUTHORIZED', 'Credentials are missing.');
  const isByProxy = Object.keys(metadata).some((name) => ofProxies.test(name));
  if (!isLoopbackAddress(peerAddress) || !isLoopbackAuthority(authority) || isByProxy) {
    throw new AppError(
      'FORBIDDEN',
      'Callers without credentials must call from the machine of the server, as localhost, and by no proxy.',
    );
  }
  return { owner: anonymousOwner, credential: anonymousOwner, role, address: peerAddress };
}

const ofProxies = /^(?:forwarded|via|origin|x-real-ip|x-forwarded-.+)$/;

function isLoopbackAuthority(authority: string): boolean {
  return /^(?:localhost|127(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}|\[::1\])(?::\d{1,5})?$/i.test(
    authority,
  );
}

function unknown(): AppError {
  return new AppError('UNAUTHORIZED', 'The credentials are not known.');
}
