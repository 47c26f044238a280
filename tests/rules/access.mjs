const matrix = 'tests/access-matrix.test.ts';
const keys = 'apps/private-api/test/keys.test.ts';
const people = 'apps/private-api/test/outages/people.test.ts';
const atTheDoor = 'apps/public-api/test/outages/keys.test.ts';
const stolen = 'apps/private-api/test/stolen-token.test.ts';
const rates = 'apps/public-api/test/outages/rates.test.ts';
const refused = 'apps/public-api/test/refused-credentials.test.ts';
const owned = 'apps/private-api/test/quotas.test.ts';
const logins = 'apps/private-api/test/logins.test.ts';
const quotas = 'apps/private-api/src/modules/quotas/quotas.ts';
const authorization = 'apps/private-api/src/http/authorization.ts';
const auth = 'apps/public-api/src/plugins/auth.ts';
const keyRows = 'apps/private-api/src/modules/keys/repository.ts';
const userRows = 'apps/private-api/src/modules/users/repository.ts';
const callers = 'apps/private-api/src/modules/callers/service.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfAccess = [
  {
    name: 'a page elsewhere gets nothing without a key, also where it names no origin',
    file: auth,
    text: 'if (isEmbedded || (origin !== undefined',
    without: 'if ((isEmbedded && host === undefined) || (origin !== undefined',
    tests: [
      ['tests/outages/foreign-pages.test.ts', 'gets nothing by an image, a script or a style'],
    ],
  },
  {
    name: 'the name of a deleted model stays its owner’s',
    file: 'apps/private-api/src/modules/models/repository.ts',
    text: "exists.');\n        if (version > 0) requireOwner(owner, onlyOf);",
    without: "exists.');\n        if (version < 0) requireOwner(owner, onlyOf);",
    tests: [['apps/private-api/test/models-live.test.ts', 'leaves its name to whoever had it']],
  },
  {
    name: 'a consumer that says more of itself than the policy allows is not let in',
    file: 'apps/private-api/src/modules/consumers/service.ts',
    text: '      requireAllowed(id, registration);\n',
    without: "      if (id === '') requireAllowed(id, registration);\n",
    tests: [['apps/private-api/test/consumer-rules.test.ts', 'a consumer is not let in with']],
  },
  {
    name: 'a login of a registry needs a policy that says which images may be run',
    file: 'apps/job-consumer/src/registry-auth.ts',
    text: 'if (images === undefined) {',
    without: 'if (images === null) {',
    tests: [['apps/job-consumer/test/registry-auth.test.ts', 'lends a login to nobody where']],
  },
  {
    name: 'the fence: the token of another consumer is refused',
    file: 'apps/private-api/src/modules/attempts/held-attempt.ts',
    text: 'AND holder = $4 AND consumer_id = $5 AND ended_at',
    without: 'AND holder = $4 AND $5::text IS NOT NULL AND ended_at',
    tests: [[stolen, 'an attempt can be neither read nor moved nor ended']],
  },
  {
    name: 'a door needs the role of the one it acts for',
    file: authorization,
    text: "access === 'internal' || includesRole(caller.role, access)) return;",
    without: "access === 'internal' || includesRole(caller.role, 'submit')) return;",
    tests: [[matrix, 'by public-api for somebody with the role']],
  },
  {
    name: 'nobody but a door acts for somebody',
    file: authorization,
    text: 'if (said !== undefined) {',
    without: 'if (said === null) {',
    tests: [[matrix, 'by other tokens, and by none']],
  },
  {
    name: 'a door says whom it acts for',
    file: authorization,
    text: "if (caller === undefined) {\n    throw new AppError('VALIDATION_FAILED'",
    without: "if (caller === null) {\n    throw new AppError('VALIDATION_FAILED'",
    tests: [[matrix, 'by other tokens, and by none']],
  },
  {
    name: 'the task of another is as if it were not there',
    file: 'apps/private-api/src/modules/tasks/repository.ts',
    text: "'(t.uid = $1 AND ($2::text IS NULL OR t.owner = $2))'",
    without: "'(t.uid = $1 AND ($2::text IS NULL OR t.owner IS NOT NULL))'",
    tests: [[matrix, 'by public-api for somebody with the role']],
  },
  {
    name: 'the model of another is not changed',
    file: 'apps/private-api/src/modules/models/names.ts',
    text: 'if (onlyOf === null || owner === onlyOf) return;',
    without: 'if (onlyOf === null || owner !== null) return;',
    tests: [[matrix, 'by public-api for somebody with the role']],
  },
  {
    name: 'at the door a role is needed',
    file: auth,
    text: 'if (!includesRole(caller.role, access)) {',
    without: 'if (caller === null) {',
    tests: [['apps/public-api/test/auth.test.ts', 'submit: 403 for ']],
  },
  {
    name: 'a token for one model opens nothing else',
    file: auth,
    text: 'if (onlyModel !== null && !(',
    without: 'if (onlyModel !== onlyModel && !(',
    tests: [[atTheDoor, 'a token for one model']],
  },
  {
    name: 'two credentials that differ are none',
    file: auth,
    text: 'if (bearer !== undefined && isToken && token !== bearer) throw unknown();',
    without: '',
    tests: [[atTheDoor, 'is refused: ']],
  },
  {
    name: 'before the first key nobody is let in from elsewhere',
    file: auth,
    text: 'if (isExposed && !(await directory.hasKeys())) {',
    without: 'if (isExposed && directory === null) {',
    tests: [[atTheDoor, 'opens nothing before there is a key: ']],
  },
  {
    name: 'a caller without a key comes from here',
    file: auth,
    text: 'if (!isFromHere(request)) {',
    without: 'if (request === null) {',
    tests: [['apps/public-api/test/auth.test.ts', 'may not come by a proxy that says ']],
  },
  {
    name: 'a key is its secret, not its id',
    file: callers,
    text: '|| !isSecretOf(key.secretSha256, secret)',
    without: '',
    tests: [[keys, 'is none with another secret, another id, or anything more']],
  },
  {
    name: 'a revoked key opens nothing',
    file: keyRows,
    text: 'AND k.revoked_at IS NULL AND u.locked_at IS NULL',
    without: 'AND u.locked_at IS NULL',
    tests: [[keys, 'opens nothing when revoked, and that can be said twice']],
  },
  {
    name: 'the key of a person who is locked out opens nothing',
    file: keyRows,
    text: 'AND k.revoked_at IS NULL AND u.locked_at IS NULL',
    without: 'AND k.revoked_at IS NULL',
    tests: [[people, 'is locked out with tokens and keys of theirs, and let in again by a put']],
  },
  {
    name: 'the first key is made once',
    file: keyRows,
    text: 'await tx.query(`LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE`);',
    without: '',
    tests: [[keys, 'is in a file for its owner alone, made once']],
  },
  {
    name: 'a token ends with its time',
    file: callers,
    text: 'claims.e > at ?',
    without: 'claims.e !== at ?',
    tests: [[people, 'ends with its time, with a new password, and with the key that made it']],
  },
  {
    name: 'a token ends with the password that it was made with',
    file: callers,
    text: '|| standing.passwordAt !== claims.p',
    without: '',
    tests: [[people, 'ends with its time, with a new password, and with the key that made it']],
  },
  {
    name: 'a lock ends the tokens of before for good',
    file: userRows,
    text: 'password_at = CASE WHEN locked_at IS NULL THEN now() ELSE password_at END',
    without: 'password_at = password_at',
    tests: [[people, 'is locked out with tokens and keys of theirs, and let in again by a put']],
  },
  {
    name: 'the key of a person may do no more than that person may now',
    file: keyRows,
    text: 'least(k.role, u.role) AS role',
    without: 'k.role AS role',
    tests: [[people, 'has keys that may do what the person may, and made keys that stay']],
  },
  {
    name: 'a token may do no more than its maker may now',
    file: callers,
    text: 'role: includesRole(standing.role, claims.r) ? claims.r : standing.role,',
    without: 'role: claims.r,',
    tests: [[people, 'opens what it was asked for, at most what its maker may']],
  },
  {
    name: 'after wrong passwords none is looked at for a while',
    file: 'apps/private-api/src/modules/callers/login.ts',
    text: 'if (blockedS === 0) return;',
    without: 'if (blockedS >= 0) return;',
    tests: [[people, 'are slowed down: for a name from there, not for others']],
  },
  {
    name: 'what is under way ends with its key',
    file: 'packages/service-kit/src/callers/revocation-watch.ts',
    text: 'for (const { end } of requests) end.abort(isRevoked());',
    without: '',
    tests: [[atTheDoor, 'a request that is held']],
  },
  {
    name: 'what is under way ends with what its key may',
    file: 'packages/service-kit/src/callers/revocation-watch.ts',
    text: '|| !includesRole(role, caller.role)) end.abort(isRevoked());',
    without: ') end.abort(isRevoked());',
    tests: [[atTheDoor, 'what is held for ']],
  },
  {
    name: 'who is over a limit is refused',
    file: 'apps/public-api/src/plugins/rates.ts',
    text: 'if (passed !== undefined) throw tooMany(passed);',
    without: '',
    tests: [[rates, 'of an address are limited, whatever the keys']],
  },
  {
    name: 'another machine is not this one, whatever it says of itself',
    file: 'apps/public-api/src/plugins/rates.ts',
    text: "const addresses = [request.socket.remoteAddress ?? '', callerAddress(request)];",
    without: 'const addresses = [callerAddress(request)];',
    tests: [[rates, 'of this machine are not limited']],
  },
  {
    name: 'a proxy that names no address is believed no further',
    file: 'packages/service-kit/src/http/caller-address.ts',
    text: 'ips.findLast((address) => isIP(address) !== 0)',
    without: 'ips.findLast((address) => isIP(address) !== 0 || address !== undefined)',
    tests: [[rates, 'of which a proxy does not say from where they come']],
  },
  {
    name: 'what is no key and no token is not asked for',
    file: auth,
    text: 'if (!hasFormOfCredential(bearer)) throw unknown();',
    without: '',
    tests: [[refused, 'for what is no key and no token']],
  },
  {
    name: 'an address that shows much that opens nothing waits',
    file: 'apps/public-api/src/plugins/rates.ts',
    text: 'if (use.used >= refusals.limit) throw tooMany(quotaOf(refusals, use));',
    without: '',
    tests: [[refused, 'an address that shows much that opens nothing']],
  },
  {
    name: 'only so many that opened nothing are asked for at a time',
    file: 'packages/service-kit/src/callers/caller-directory.ts',
    text: 'if (isStranger && strangers >= mostStrangers) throw unavailable(undefined);',
    without: '',
    tests: [[refused, 'keys that are made up keep nobody waiting']],
  },
  {
    name: 'who has stored as much as one may stores no more',
    file: quotas,
    text: 'if (used < storedBytes && used + bytes <= storedBytes) return undefined;',
    without: 'if (used + bytes >= 0) return undefined;',
    tests: [[owned, 'is limited, told in body and headers']],
  },
  {
    name: 'who has had GPUs for as long as one may has them no more today',
    file: quotas,
    text: 'if (gpuS < gpuSPerDay) return undefined;',
    without: 'if (gpuS >= 0) return undefined;',
    tests: [[owned, 'of a day are limited']],
  },
  {
    name: 'callers without credentials do not share the keys of posts',
    file: 'apps/private-api/src/modules/tasks/routes.ts',
    text: 'return owner === anonymousOwner ? `${owner} from ${networkOf(address)}` : owner;',
    without: 'return owner === anonymousOwner ? `${owner}${networkOf(address).slice(99)}` : owner;',
    tests: [
      ['apps/private-api/test/idempotent-posts.test.ts', 'of a caller without credentials is that'],
    ],
  },
  {
    name: 'where a person has logged in of late they are not kept out by others',
    file: 'apps/private-api/src/modules/callers/login-failures.ts',
    text: '!isKnown || subject === ofNameFromThere',
    without: '!isKnown || subject !== `${ofNameFromThere}?`',
    tests: [[logins, 'where a person has logged in of late nobody else’s wrong passwords']],
  },
];
