import Type from 'typebox';
import { countBesideWords, guessesLog10 } from './guesses.js';

/** The mark of a setting that must not be known to others, in its schema. */
export interface SecretMark {
  /**
   * `strong`: refused when it could be guessed. `chosen`: of a person, judged where people are.
   * `given`: made by somebody else. `address`: what is in it is somebody else's.
   */
  kind: 'strong' | 'chosen' | 'given' | 'address';
  /** Of an address: the setting whose password goes into it. */
  password?: string;
}

/** A setting that must be hard to guess: `loadConfig` judges it, and prints nothing of it. */
export const Secret = () => Type.String({ secret: { kind: 'strong' } satisfies SecretMark });

/** The password of a person, of which nothing is printed either. */
export const ChosenSecret = () => Type.String({ secret: { kind: 'chosen' } satisfies SecretMark });

/** What somebody else gave out, as hard to guess as they made it: nothing is printed of it. */
export const GivenSecret = () => Type.String({ secret: { kind: 'given' } satisfies SecretMark });

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

/** As many as 66 random bits (log10): nobody tries so many, also where each try costs nothing. */
const leastGuesses = 20;
/** Words are few to whoever reads examples, however many there are in a row. */
const leastBesideWords = 16;

/** Why a secret could be guessed, in words that follow its name; undefined when it is fine. */
export function weaknessOf(secret: string): string | undefined {
  const weakness = judge(secret);
  return weakness && `${weakness}; make one: openssl rand -hex 32`;
}

function judge(secret: string): string | undefined {
  if (!/^[\x21-\x7e]+$/.test(secret)) {
    return 'has blanks, or characters other than those of ASCII';
  }
  const isHard = guessesLog10(secret) >= leastGuesses;
  if (isHard && countBesideWords(secret) >= leastBesideWords) return undefined;
  return 'could be guessed, being short, or of words, repeats or rows of keys';
}
