import Type, { type Static } from 'typebox';
import { RoleName } from '../roles.js';
import { Time } from './time.js';

export const UserName = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}$',
  description: 'Names a person. Upper and lower case differ.',
});

/** Longer ones cost nobody anything: a hash has one length. Bounded, since it is worked on. */
const maxPasswordLength = 1_000;

export const Password = Type.String({ minLength: 1, maxLength: maxPasswordLength });

/** What is left out stays as it is; a new one needs both. */
export const UserSettings = Type.Object(
  {
    password: Type.Optional(
      Type.String({
        ...Password,
        description:
          'At least 10 characters, without the user name, and none of those that are guessed first.',
      }),
    ),
    role: Type.Optional(RoleName),
  },
  { additionalProperties: false },
);
export type UserSettings = Static<typeof UserSettings>;

export const UserDetails = Type.Object({
  user_name: UserName,
  role: RoleName,
  created_at: Time,
  created_by: Type.String(),
  last_login_at: Type.Union([Time, Type.Null()]),
  locked_at: Type.Union([Time, Type.Null()], { description: 'null: the person is let in.' }),
});
export type UserDetails = Static<typeof UserDetails>;
