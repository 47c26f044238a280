import Type from 'typebox';
import { defineRoute } from '../route.js';
import {
  IdentifiedBearers,
  IdentifiedCaller,
  IssuedToken,
  ShownBearers,
  ShownCredential,
  TokenRequest,
} from '../schemas/credential.js';
import { CreatedKey, KeyDetails, KeyId, NewKey } from '../schemas/key.js';
import { UserDetails, UserName, UserSettings } from '../schemas/user.js';

const KeyParams = Type.Object({ key_id: KeyId });
const UserParams = Type.Object({ user_name: UserName });
const NoQuery = Type.Object({}, { additionalProperties: false });
const errors = ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED', 'DUPLICATE_PARAMETER'] as const;
const bodyErrors = [
  ...errors,
  'MALFORMED_REQUEST',
  'PAYLOAD_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'UPLOAD_TOO_SLOW',
] as const;

export const createKey = defineRoute({
  operationId: 'createKey',
  method: 'POST',
  path: '/api/admin/keys/',
  tag: 'access',
  summary: 'Make a key',
  description:
    'The answer shows the key itself, this once: what is kept of it cannot open anything. A caller sends it as `Authorization: Bearer …`, or as `X-Token: …`.',
  query: NoQuery,
  body: { kind: 'json', schema: NewKey },
  success: { kind: 'json', schema: CreatedKey, description: 'The key.' },
  errors: bodyErrors,
  access: 'admin',
  object: 'none',
  callers: ['public-api', 'operator'],
});

export const listKeys = defineRoute({
  operationId: 'listKeys',
  method: 'GET',
  path: '/api/admin/keys/',
  tag: 'access',
  summary: 'List the keys',
  query: NoQuery,
  success: {
    kind: 'json',
    schema: Type.Array(KeyDetails),
    description: 'Every key that was ever made, the oldest first, without what opens anything.',
  },
  errors,
  access: 'admin',
  object: 'none',
  callers: ['public-api', 'operator'],
});

export const revokeKey = defineRoute({
  operationId: 'revokeKey',
  method: 'DELETE',
  path: '/api/admin/keys/:key_id',
  tag: 'access',
  summary: 'Revoke a key',
  description:
    'Within a second it opens nothing any more, tokens that were made with it neither, and what is under way with it is cut off. What it has posted stays. Repeating it does no harm.',
  params: KeyParams,
  query: NoQuery,
  success: { kind: 'json', schema: KeyDetails, description: 'The key, revoked.' },
  errors: [...errors, 'NOT_FOUND'],
  access: 'admin',
  object: 'key',
  callers: ['public-api', 'operator'],
});

export const putUser = defineRoute({
  operationId: 'putUser',
  method: 'PUT',
  path: '/api/admin/users/:user_name',
  tag: 'access',
  summary: 'Let a person in, or change how',
  description:
    'Makes the person, or changes what is given of one that is there, who is let in again if locked out. A new password ends what was begun with the old one.',
  params: UserParams,
  query: NoQuery,
  body: { kind: 'json', schema: UserSettings },
  success: { kind: 'json', schema: UserDetails, description: 'The person.' },
  errors: bodyErrors,
  access: 'admin',
  object: 'user',
  callers: ['public-api', 'operator'],
});

export const listUsers = defineRoute({
  operationId: 'listUsers',
  method: 'GET',
  path: '/api/admin/users/',
  tag: 'access',
  summary: 'List the people',
  query: NoQuery,
  success: { kind: 'json', schema: Type.Array(UserDetails), description: 'Everybody, by name.' },
  errors,
  access: 'admin',
  object: 'none',
  callers: ['public-api', 'operator'],
});

export const lockUser = defineRoute({
  operationId: 'lockUser',
  method: 'DELETE',
  path: '/api/admin/users/:user_name',
  tag: 'access',
  summary: 'Lock a person out',
  description:
    'Within a second name and password open nothing any more, nor do tokens and keys of theirs. What they posted stays theirs, and so does the name. Repeating it does no harm.',
  params: UserParams,
  query: NoQuery,
  success: { kind: 'json', schema: UserDetails, description: 'The person, locked out.' },
  errors: [...errors, 'NOT_FOUND'],
  access: 'admin',
  object: 'user',
  callers: ['public-api', 'operator'],
});

export const issueToken = defineRoute({
  operationId: 'issueToken',
  method: 'POST',
  path: '/api/tokens/',
  tag: 'access',
  summary: 'Get a token that is good for a while',
  description:
    'For whoever shows a key, or sends `user_name` and `password`. It opens at most what they do, and nothing once they do not. After wrong passwords the next try must wait (429).',
  query: NoQuery,
  body: { kind: 'json', schema: TokenRequest },
  success: { kind: 'json', schema: IssuedToken, description: 'The token.' },
  errors: [...bodyErrors, 'LOGIN_FAILED', 'TOO_MANY_REQUESTS', 'MODEL_NOT_FOUND'],
  access: 'open',
  object: 'none',
  callers: ['public-api', 'rpc-gateway'],
});

export const identifyCaller = defineRoute({
  operationId: 'identifyCaller',
  method: 'POST',
  path: '/internal/callers/identify',
  tag: 'access',
  summary: 'Ask who shows a credential',
  description: 'Asked again while what was opened with it lasts: an answer is good for a moment.',
  body: { kind: 'json', schema: ShownCredential },
  success: { kind: 'json', schema: IdentifiedCaller, description: 'Who it is, and may do what.' },
  errors: ['UNAUTHORIZED', 'LOGIN_FAILED', 'FORBIDDEN', 'VALIDATION_FAILED', 'TOO_MANY_REQUESTS'],
  access: 'internal',
  object: 'none',
  callers: ['public-api', 'rpc-gateway'],
});

export const identifyBearers = defineRoute({
  operationId: 'identifyBearers',
  method: 'POST',
  path: '/internal/callers/identify-all',
  tag: 'access',
  summary: 'Ask who shows each of several keys and tokens',
  description: 'One question for all that lasts at a door, where there are many of them.',
  body: { kind: 'json', schema: ShownBearers },
  success: { kind: 'json', schema: IdentifiedBearers, description: 'Who they are.' },
  errors: ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED'],
  access: 'internal',
  object: 'none',
  callers: ['public-api', 'rpc-gateway'],
});

export const getSetUp = defineRoute({
  operationId: 'getSetUp',
  method: 'GET',
  path: '/internal/set-up',
  tag: 'access',
  summary: 'Ask whether a key was ever made',
  success: {
    kind: 'json',
    schema: Type.Object({ has_keys: Type.Boolean() }),
    description: 'Before that, a server that others can reach lets nobody in.',
  },
  errors: ['UNAUTHORIZED', 'FORBIDDEN'],
  access: 'internal',
  object: 'none',
  callers: ['public-api', 'rpc-gateway'],
});
