import Type from 'typebox';

/** The mark of a setting that must not be known to others, in its schema. */
export interface SecretMark {
  /**
   * `strong`: refused when it could be guessed. `chosen`: of a person, judged where people are.
   * `address`: what is in it is somebody else's.
   */
  kind: 'strong' | 'chosen' | 'address';
  /** Of an address: the setting whose password goes into it. */
  password?: string;
}

/** A setting that must be hard to guess: `loadConfig` judges it, and prints nothing of it. */
export const Secret = () => Type.String({ secret: { kind: 'strong' } satisfies SecretMark });

/** The password of a person, of which nothing is printed either. */
export const ChosenSecret = () => Type.String({ secret: { kind: 'chosen' } satisfies SecretMark });

/**
 * The setting of an address that may hold a password, which is not ours to judge; or the one of the setting
 * `password` is put into it, which may so come from a file of its own. Nothing of it is printed.
 */
export const SecretUrl = (options: { pattern: string; password: string }) =>
  Type.String({
    pattern: options.pattern,
    secret: { kind: 'address', password: options.password } satisfies SecretMark,
  });

export function secretMarkOf(property: object): SecretMark | undefined {
  return (property as { secret?: SecretMark }).secret;
}

/** Of how many characters a secret has to be, and of how many different ones. */
const least = { characters: 16, different: 8 };

/**
 * Why a secret could be guessed, in words that follow its name; undefined when it is fine. Judged is what
 * is left without words that stand in every list of passwords, and in examples.
 */
export function weaknessOf(secret: string): string | undefined {
  const weakness = judge(secret);
  return weakness && `${weakness}; make one: openssl rand -hex 32`;
}

function judge(secret: string): string | undefined {
  if (!/^[\x21-\x7e]+$/.test(secret)) {
    return 'has blanks, or characters other than those of ASCII';
  }
  if (secret.length < least.characters) {
    return `is too short, less than ${least.characters} characters`;
  }
  if (new Set(secret).size < least.different) {
    return `has too few different characters, less than ${least.different}`;
  }
  const rest = secret
    .toLowerCase()
    .replace(known, '')
    .replace(/[^a-z0-9]/g, '');
  if (rest.length < least.characters && rest.length < secret.replace(/[^A-Za-z0-9]/g, '').length) {
    return 'is made of words that stand in examples';
  }
  return undefined;
}

const known = new RegExp(
  [
    ...['change', 'password', 'passwd', 'secret', 'example', 'token', 'private', 'public', 'admin'],
    ...['default', 'inference', 'server', 'letmein', 'welcome', 'master', 'replace', 'placeholder'],
    ...['postgres', 'redis', 'root', 'test', 'demo', 'dummy', 'sample', 'your', 'this', 'insert'],
    ...['qwertyuiop', 'qwerty', 'asdfghjkl', 'abcdefghijklmnopqrstuvwxyz', 'abcdefghijklmnop'],
    ...['0123456789abcdef', 'abcdef0123456789', '0123456789', '1234567890', '12345678', 'abcdef'],
    'deadbeef',
  ].join('|'),
  'g',
);
