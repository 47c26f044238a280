import { maxTokenLifeS, type TokenRequest } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { CallHead, Method } from '@inference-server/grpc';
import { decodeAuthRequest, encodeAuthResponse } from '@inference-server/protos';
import type { Predictor } from '../../core/predictor.js';
import type { TokenIssuer } from '../../token-issuer.js';
import type { Callers } from '../callers.js';
import { createIssuedTokens } from './issued-tokens.js';
import { asStreamStatus, unauthenticated } from './redhare-status.js';

/**
 * `auth` of redhare.Inference: a token for one model, for whoever shows a key, or name and password, and where
 * to open a stream with it. Nobody is let in without, whatever callers without a key may at other doors.
 */
export function authMethod({
  callers,
  predictor,
  tokens,
  publicAddress,
}: {
  callers: Callers;
  predictor: Pick<Predictor, 'modelFor'>;
  tokens: TokenIssuer;
  /** host:port; undefined: as the caller has called. */
  publicAddress: string | undefined;
}): [path: string, method: Method] {
  const issued = createIssuedTokens();

  /** Name and password are looked at each time. */
  async function byPassword(head: CallHead, shown: TokenRequest): Promise<string> {
    const caller = await callers.admitLogin(head);
    return tokens.issue({ ...shown, expires_in_s: maxTokenLifeS }, caller, head.signal);
  }

  async function byBearer(head: CallHead, bearer: string, model: string): Promise<string> {
    const { caller, onlyModel } = await callers.admitBearer(head, bearer);
    const isToken = bearer.startsWith('ist_');
    if (isToken && onlyModel !== model) {
      throw onlyModel === null
        ? new AppError('FORBIDDEN', 'A token gets no other token: show a key, or log in.')
        : unauthenticated('The token is for another model.');
    }
    // Where private-api is not asked.
    await predictor.modelFor({ name: model, version: undefined }, head.signal);
    // It would never end, could it be made into another.
    if (isToken) return bearer;
    return issued.get(caller, model, () =>
      tokens.issue({ human_readable_id: model, expires_in_s: maxTokenLifeS }, caller, head.signal),
    );
  }

  /** A token counts more than a name and a password. */
  async function tokenFor(
    head: CallHead,
    { bearer, model, ...login }: Shown & { model: string },
  ): Promise<string> {
    try {
      if (bearer !== undefined) return await byBearer(head, bearer, model);
      const { user_name = '', password = '' } = login;
      return await byPassword(head, { user_name, password, human_readable_id: model });
    } catch (error) {
      throw wordsOf(error);
    }
  }

  const method: Method = (head) => ({
    isOpen: true,
    unary: (message) =>
      asStreamStatus(async () => {
        const attributes = decodeAuthRequest(message);
        const of = (name: string) => attributes.get(name) || undefined;
        const [model, bearer] = [of('model_name'), of('token')];
        const [user_name, password] = [of('user_name'), of('password')];
        if (bearer === undefined && (user_name === undefined || password === undefined)) {
          throw unauthenticated('Credentials are missing: token, or user_name and password.');
        }
        if (model === undefined) {
          throw new AppError('VALIDATION_FAILED', 'model_name names no model.');
        }
        const url = publicAddress ?? addressOf(head);
        const token = await tokenFor(head, { bearer, user_name, password, model });
        return { message: [encodeAuthResponse({ url, token })] };
      }),
  });
  return ['/redhare.Inference/auth', method];
}

interface Shown {
  bearer: string | undefined;
  user_name: string | undefined;
  password: string | undefined;
}

/** What is out of form is nobody's name, password or model. */
function wordsOf(error: unknown): unknown {
  if (!(error instanceof AppError) || error.code !== 'VALIDATION_FAILED') return error;
  return error.extensions.parameter === 'human_readable_id'
    ? new AppError('MODEL_NOT_FOUND', 'There is no model of this name.')
    : unauthenticated('The user name or the password is wrong.');
}

/** As a caller of gRPC takes it, which has called by it. */
function addressOf({ authority }: CallHead): string {
  const [, host, port = ':443'] =
    /^([\w.-]{1,253}|\[[\da-f:.]{2,45}\])(:\d{1,5})?$/i.exec(authority) ?? [];
  // Who says no port has called that of https.
  if (host !== undefined) return host + port;
  throw new AppError('MALFORMED_REQUEST', 'The server is called by no host and port.');
}
