import { AppError } from '@inference-server/errors';
import { guessesLog10 } from '@inference-server/service-kit';

export const minPasswordLength = 10;

/** How many tries a guesser who begins with what people take has to make (log10). */
const leastGuesses = 8;

/** Throws VALIDATION_FAILED for a password that is too short, has the user name in it or is soon guessed. */
export function requireStrongPassword(password: string, userName: string): void {
  const plain = password.normalize('NFKC').toLowerCase();
  if (plain.length < minPasswordLength) {
    throw refused(`has fewer than ${minPasswordLength} characters`);
  }
  const name = userName.toLowerCase();
  const parts = name.split(/[^a-z0-9]+/).filter((part) => part.length >= 4);
  if ([name, ...parts].some((part) => part.length >= 3 && plain.includes(part))) {
    throw refused('has the user name in it, or a part of it');
  }
  if (guessesLog10(plain, [name, ...parts]) < leastGuesses) {
    throw refused('is among those that are guessed first');
  }
}

function refused(why: string): AppError {
  return new AppError('VALIDATION_FAILED', `password ${why}.`, {
    extensions: { parameter: 'password' },
  });
}
