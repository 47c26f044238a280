const audit = 'apps/private-api/test/audit.test.ts';
const atTheDoor = 'tests/audit.test.ts';
const tallied = 'packages/service-kit/test/refusal-tally.test.ts';
const tally = 'packages/service-kit/src/http/refusal-tally.ts';
const authorization = 'apps/private-api/src/http/authorization.ts';
const tasks = 'apps/private-api/src/modules/tasks/';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfAudit = [
  {
    name: 'the audit tells of a cancel once',
    file: `${tasks}repository.ts`,
    text: "if (cancelled === 'now') await noteTask(",
    without: "if (cancelled !== 'later') await noteTask(",
    tests: [[audit, 'tells of a cancel once, however often it is asked for']],
  },
  {
    name: 'a download in parts is one event',
    file: `${tasks}service.ts`,
    text: 'if (notedAt !== undefined && now - notedAt < readMs) return;',
    without: 'if (notedAt !== undefined && now - notedAt < 0) return;',
    tests: [[audit, 'tells of a download once, and of nothing from which no byte came']],
  },
  {
    name: 'what sends no byte is no download',
    file: 'packages/service-kit/src/http/send-blob.ts',
    text: '  if (isSent) {\n    await beforeFirstByte',
    without: '  if (bytes >= 0) {\n    await beforeFirstByte',
    tests: [[audit, 'tells of a download once, and of nothing from which no byte came']],
  },
  {
    name: 'a name that nobody has is not kept',
    file: 'apps/private-api/src/modules/callers/login.ts',
    text: 'const by = isKnown ? personOf(',
    without: 'const by = isKnown || address ? personOf(',
    tests: [[audit, 'at private-api are told once each']],
  },
  {
    name: 'what a door refuses is told by it alone',
    file: authorization,
    text: 'if (isDoor(principal) && isTheirs) return undefined;',
    without: 'if (isDoor(principal) && !isTheirs) return undefined;',
    tests: [[audit, 'at private-api are told once each']],
  },
  {
    name: 'the audit tells which known caller was refused',
    file: 'apps/public-api/src/plugins/auth.ts',
    text: '    request.caller = caller;\n    requireRight(shown, contract, request, { ...options, isToken });',
    without:
      '    requireRight(shown, contract, request, { ...options, isToken });\n    request.caller = caller;',
    tests: [[atTheDoor, 'tells of refused attempts, of whom they are']],
  },
  {
    name: 'a flood of refused attempts is few rows',
    file: tally,
    text: 'those.has(kindOf(refusal)) || those.size < mostKinds;',
    without: 'those.has(kindOf(refusal)) || those.size >= 0;',
    tests: [[tallied, 'of a flood are few rows, and all are counted']],
  },
  {
    name: 'strangers hide no attempt of somebody known',
    file: tally,
    text: 'isProven(refusal) ? known : strangers',
    without: 'refusal.times > 0 ? known : strangers',
    tests: [[tallied, 'are no cover for those of somebody known']],
  },
  {
    name: 'an address that is none poisons no batch',
    file: tally,
    text: 'isIP(refusal.address) === 0 ?',
    without: "refusal.address === '' ?",
    tests: [[tallied, 'from an address that is none']],
  },
  {
    name: 'refused attempts that cannot be told are kept',
    file: tally,
    text: 'for (const refusal of told) add(refusal);',
    without: 'for (const refusal of told) void refusal;',
    tests: [[tallied, 'that cannot be told are kept, and told later']],
  },
  {
    name: 'an export goes on behind the last row of a page',
    file: 'apps/private-api/src/modules/audit/repository.ts',
    text: 'WHERE is_asked OR nth = looked ORDER BY nth',
    without: 'WHERE is_asked ORDER BY nth',
    tests: [[audit, 'is whole however long it is']],
  },
];
