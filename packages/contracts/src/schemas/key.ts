import Type, { type Static } from 'typebox';
import { RoleName } from '../roles.js';
import { Time } from './time.js';

const TimeOrNever = (description: string) => Type.Union([Time, Type.Null()], { description });

/** Also the part of a key that is no secret. */
export const KeyId = Type.String({
  pattern: '^[a-z2-7]{16}$',
  description: 'Names a key; it stands in the key itself, behind `isk_`.',
});

/** Of a key `key:<id>`, of a person `user:<name>`. */
export const Owner = Type.String({
  pattern: '^(?:key:[a-z2-7]{16}|user:[A-Za-z0-9][A-Za-z0-9_.@-]{0,99})$',
  description: 'Whose tasks and models a caller has: `key:<id>` or `user:<name>`.',
});

const name = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: '^[^\\u0000-\\u001F\\u007F]*$',
  description: 'For people: what the key is for, or who has it.',
});

export const NewKey = Type.Object(
  {
    name,
    role: RoleName,
    expires_in_s: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10 * 366 * 24 * 3600,
        description: 'After so many seconds the key opens nothing any more. Default: never.',
      }),
    ),
    owner: Type.Optional(
      Type.String({
        ...Owner,
        description:
          'Whose tasks and models the key reaches, as another key of theirs does: for one that takes the place of another. Default: its own.',
      }),
    ),
  },
  { additionalProperties: false },
);
export type NewKey = Static<typeof NewKey>;

export const KeyDetails = Type.Object({
  id: KeyId,
  name,
  role: RoleName,
  owner: Owner,
  created_at: Time,
  created_by: Type.String(),
  expires_at: TimeOrNever('null: never.'),
  last_used_at: TimeOrNever('To the minute; null: never.'),
  revoked_at: TimeOrNever('null: it is not.'),
});
export type KeyDetails = Static<typeof KeyDetails>;

export const CreatedKey = Type.Object({
  ...KeyDetails.properties,
  key: Type.String({ description: 'The key itself. It is shown here, and never again.' }),
});
export type CreatedKey = Static<typeof CreatedKey>;
