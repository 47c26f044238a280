import Type, { type Static } from 'typebox';
import { CallerIdentity } from '../caller-identity.js';
import { roles } from '../roles.js';
import { HumanReadableId } from './names.js';
import { Password, UserName } from './user.js';
import { Time } from './time.js';

/** `isk_<id>_<secret>` with its id and secret, and `ist_<claims>.<signature>` with those. */
export const keyForm = /^isk_([a-z2-7]{16})_([A-Za-z0-9_-]{43})$/;
export const tokenForm = /^ist_([A-Za-z0-9_-]{1,1500})\.([A-Za-z0-9_-]{43})$/;

/** Whether somebody needs to be asked whose it is: anything else is nobody's. */
export function hasFormOfCredential(text: string): boolean {
  return keyForm.test(text) || tokenForm.test(text);
}

const Login = { user_name: UserName, password: Password };
const { address, ...identity } = CallerIdentity.properties;
const Bearer = Type.String({ minLength: 1, maxLength: 2_000 });

/** What somebody shows at a door: a key or a token, or name and password. */
export const ShownCredential = Type.Union([
  Type.Object({ bearer: Bearer, address }, { additionalProperties: false }),
  Type.Object({ ...Login, address }, { additionalProperties: false }),
]);
export type ShownCredential = Static<typeof ShownCredential>;

const IdentifiedBearer = Type.Object({
  ...identity,
  human_readable_id: Type.Union([HumanReadableId, Type.Null()], {
    description: 'Of a token that opens one model alone: which.',
  }),
});
export type IdentifiedBearer = Static<typeof IdentifiedBearer>;

export const IdentifiedCaller = Type.Object({ ...IdentifiedBearer.properties, address });
export type IdentifiedCaller = Static<typeof IdentifiedCaller>;

/** Keys and tokens that are asked for together, at most. */
export const mostBearers = 200;

export const ShownBearers = Type.Object(
  { bearers: Type.Array(Bearer, { minItems: 1, maxItems: mostBearers }) },
  { additionalProperties: false },
);

export const IdentifiedBearers = Type.Object({
  callers: Type.Array(Type.Union([IdentifiedBearer, Type.Null()]), {
    description: 'In the order of the credentials; null: nobody is known by it.',
  }),
});
export type IdentifiedBearers = Static<typeof IdentifiedBearers>;

/** The longest life of a token (s). */
export const maxTokenLifeS = 12 * 3600;

export const TokenRequest = Type.Object(
  {
    user_name: Type.Optional(UserName),
    password: Type.Optional(Password),
    human_readable_id: Type.Optional(
      Type.String({
        ...HumanReadableId,
        description: 'The one model that the token opens. Default: it opens what the caller may.',
      }),
    ),
    role: Type.Optional(
      Type.Enum([...roles], {
        description: 'What the token may do, at most what the caller may. Default: submit.',
      }),
    ),
    expires_in_s: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: maxTokenLifeS,
        default: 900,
        description: 'How long the token is good for (s).',
      }),
    ),
  },
  { additionalProperties: false },
);
export type TokenRequest = Static<typeof TokenRequest>;

export const IssuedToken = Type.Object({
  token: Type.String({ description: 'To be shown as `Authorization: Bearer …`.' }),
  role: TokenRequest.properties.role,
  expires_at: Time,
});
export type IssuedToken = Static<typeof IssuedToken>;
