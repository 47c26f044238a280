import { AppError } from '@inference-server/errors';

export const minPasswordLength = 10;

/** Throws VALIDATION_FAILED for a password that is too short, or among the first that are tried. */
export function requireStrongPassword(password: string, userName: string): void {
  const plain = password.normalize('NFKC').toLowerCase();
  if (plain.length < minPasswordLength) {
    throw refused(`has fewer than ${minPasswordLength} characters`);
  }
  if (new Set(plain).size < 5) throw refused('has fewer than 5 different characters');
  if (plain.includes(userName.toLowerCase()) && plain.length < userName.length + 6) {
    throw refused('is little more than the user name');
  }
  if (firstTried.some((word) => plain.replaceAll(/[^a-z]/g, '') === word)) {
    throw refused('is among those that everybody tries first');
  }
}

/** Without what is put around and into them. */
const firstTried = [
  ...['password', 'passwordpassword', 'passwort', 'secret', 'changeme', 'letmein', 'welcome'],
  ...['admin', 'administrator', 'qwerty', 'qwertyuiop', 'qwertzuiop', 'iloveyou', 'example'],
  ...['inference', 'inferenceserver', 'hospital', 'default', 'test', 'testtest', 'guest', 'user'],
];

function refused(why: string): AppError {
  return new AppError('VALIDATION_FAILED', `password ${why}.`, {
    extensions: { parameter: 'password' },
  });
}
