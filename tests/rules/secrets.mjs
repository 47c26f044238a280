const kit = 'packages/service-kit/src/';
const secret = 'packages/service-kit/test/secret.test.ts';
const headers = 'packages/service-kit/test/security-headers.test.ts';
const cors = 'apps/public-api/test/cors.test.ts';
const checks = 'scripts/dependency-checks.mjs';
const supply = 'tests/supply-chain.test.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfSecrets = [
  {
    name: 'a secret that is soon guessed is refused, however long it is',
    file: `${kit}secret.ts`,
    text: 'guessesLog10(secret) >= leastGuesses;',
    without: 'guessesLog10(secret) >= leastGuesses / 10;',
    tests: [[secret, ' is refused: ']],
  },
  {
    name: 'a secret of words is refused, however many they are',
    file: `${kit}secret.ts`,
    text: 'if (isHard && countBesideWords(secret) >= leastBesideWords) return',
    without: 'if (isHard && countBesideWords(secret) >= 0) return',
    tests: [[secret, ' is refused: ']],
  },
  {
    name: 'what was typed as a name is kept as an HMAC',
    file: 'apps/private-api/src/modules/callers/login-failures.ts',
    text: "return createHmac('sha256', secret).update(`login-failures ${subject}`).digest('base64url');",
    without: 'return secret && createHmac ? subject : subject;',
    tests: [['apps/private-api/test/logins.test.ts', 'is kept nowhere as it is']],
  },
  {
    name: 'a secret that comes two ways is refused',
    file: `${kit}config.ts`,
    text: '  if (value !== undefined) {\n    problems.set(name, `is given twice',
    without: "  if (value === 'x') {\n    problems.set(name, `is given twice",
    tests: [[secret, 'beside NAME is refused, unless one of them is empty']],
  },
  {
    name: 'an address that cannot be read is refused before somebody shows it',
    file: `${kit}config.ts`,
    text: 'if (value !== undefined && !URL.canParse(value)) {',
    without: "if (value === '') {",
    tests: [[secret, 'and its password must fit, and nothing of either is told']],
  },
  {
    name: 'what cannot be a request is answered with the headers for browsers, too',
    file: `${kit}http/unparsable-request.ts`,
    text: 'Object.entries({ ...securityHeaders, ...notStored })',
    without: "Object.entries(typeof securityHeaders === 'object' ? notStored : {})",
    tests: [[headers, 'says what a browser must not do with it, once, and is not kept']],
  },
  {
    name: 'an origin that is not named is not let in',
    file: 'apps/public-api/src/plugins/cors.ts',
    text: 'origins.includes(origin) && shared.origin',
    without: 'origin.length > 0 && [origin]',
    tests: [[cors, 'no other origin is let in: ']],
  },
  {
    name: 'a package without a digest is refused',
    file: checks,
    text: "if (!/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity ?? '') && ",
    without: "if (!/^sha/.test(integrity ?? 'sha') && ",
    tests: [[supply, 'the check of the lock file']],
  },
  {
    name: 'an advisory is allowed until its day and no longer',
    file: checks,
    text: 'allowed.filter(({ until }) => until >= today)',
    without: "allowed.filter(({ until }) => until !== '')",
    tests: [[supply, 'refuses what is not on the list, and what was for too long']],
  },
];
