import { createHmac, timingSafeEqual } from 'node:crypto';
import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import { roles, tokenForm } from '@inference-server/contracts';

/** What a token says, in words of one letter, since it travels with every call. */
const Claims = Type.Object({
  /** What it was made with: `key:<id>` or `user:<name>`. */
  c: Type.String(),
  /** The role that it is for, at most. */
  r: Type.Enum([...roles]),
  /** The one model that it opens; null: any. */
  m: Type.Union([Type.String(), Type.Null()]),
  /** Of a person: since when they have the password that it was made with (s since 1970); of a key: null. */
  p: Type.Union([Type.Number(), Type.Null()]),
  /** When it ends, by the database's clock (s since 1970). */
  e: Type.Number(),
});
export type TokenClaims = Static<typeof Claims>;

/** `ist_<claims>.<HMAC-SHA-256>`: nothing is stored of a token; the signature tells that it is ours. */
export function createAccessTokens(secret: string) {
  // Of its own: a token of the services is none of these, and the other way round.
  const key = createHmac('sha256', secret).update('access tokens').digest();
  const macOf = (claims: string) => createHmac('sha256', key).update(claims).digest('base64url');

  return {
    write(claims: TokenClaims): string {
      const text = Buffer.from(JSON.stringify(claims)).toString('base64url');
      return `ist_${text}.${macOf(text)}`;
    },

    /** Undefined for what is no token of ours. Whether it is over is the reader's to see. */
    read(token: string): TokenClaims | undefined {
      const [, text, mac] = tokenForm.exec(token) ?? [];
      if (text === undefined || mac === undefined) return undefined;
      if (!timingSafeEqual(Buffer.from(mac), Buffer.from(macOf(text)))) return undefined;
      const claims: unknown = JSON.parse(Buffer.from(text, 'base64url').toString());
      return Value.Check(Claims, claims) ? claims : undefined;
    },
  };
}
