const database = 'apps/private-api/src/database/';
const migrations = 'apps/private-api/test/migrations.test.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfMigrations = [
  {
    name: 'a migration that was interrupted is tried again',
    file: `${database}migrations.ts`,
    text: 'await giveUpUnfinished(pool);\n    for',
    without: 'if (withinMs < 0) await giveUpUnfinished(pool);\n    for',
    tests: [[migrations, 'whose process is killed is tried again by the next one']],
  },
  {
    name: 'a migration notes in its own transaction that it is done',
    file: `${database}schema-engine.ts`,
    text: "[limits, noteDone, script].join('\\n')",
    without: "[limits, noteDone.slice(0, 0), script].join('\\n')",
    tests: [[migrations, 'that comes to its end after its process was killed is not done twice']],
  },
  {
    name: 'a refusal of before is not taken for one of now',
    file: `${database}schema-engine.ts`,
    text: '    this.#refusal = undefined;\n',
    without: '',
    tests: [[migrations, 'is not tried again for a refusal of before']],
  },
];
