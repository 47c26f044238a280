const tasks = 'apps/private-api/src/modules/tasks/';
const idempotent = 'apps/private-api/test/idempotent-posts.test.ts';
const doubt = 'apps/private-api/test/outages/commit-in-doubt.test.ts';
const waiting = 'apps/private-api/test/outages/waiting-limits.test.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfPosts = [
  {
    name: 'the same post under the same key makes one task',
    file: `${tasks}repository.ts`,
    text: 'if (earlier) return earlier;',
    without: "if (earlier === '') return earlier;",
    tests: [[idempotent, 'that is repeated gives the same uid']],
  },
  {
    name: 'another zip under the same key is refused',
    file: `${tasks}idempotency-keys.ts`,
    text: ' && earlier.sha256 === sha256) return;',
    without: " && sha256 !== '') return;",
    tests: [[idempotent, 'of another body or model is refused']],
  },
  {
    name: 'another model under the same key is refused',
    file: `${tasks}idempotency-keys.ts`,
    text: 'if (earlier.humanReadableId === humanReadableId && ',
    without: "if (humanReadableId !== '' && ",
    tests: [[idempotent, 'of another body or model is refused']],
  },
  {
    name: 'a key stands for its post for 24 hours',
    file: `${tasks}idempotency-keys.ts`,
    text: "AND created_at > now() - $3 * interval '1 second'",
    without: "AND created_at > now() - $3 * interval '0 seconds'",
    tests: [[idempotent, 'that is repeated gives the same uid']],
  },
  {
    name: 'a key is free again after 24 hours',
    file: `${tasks}idempotency-keys.ts`,
    text: "WHERE k.created_at <= now() - $6 * interval '1 second'",
    without: "WHERE k.created_at <= now() - ($6 + 9e9) * interval '1 second'",
    tests: [[idempotent, 'may have any key of 255 bytes']],
  },
  {
    name: 'so many tasks may wait in all',
    file: `${tasks}waiting-limits.ts`,
    text: 'if (await isFull()) {',
    without: 'if ((await isFull()) && limits.total < 0) {',
    tests: [[waiting, 'is limited in all']],
  },
  {
    name: 'so many tasks of one owner may wait',
    file: `${tasks}waiting-limits.ts`,
    text: '(await countOwn(database, owner, perOwner)) >= perOwner)',
    without: '(await countOwn(database, owner, perOwner)) > perOwner)',
    tests: [[waiting, 'is limited for each owner alone']],
  },
  {
    name: 'the limit of waiting tasks is looked at before the body is asked for',
    file: `${tasks}service.ts`,
    text: 'await tasks.requireRoom(owner, { bytes: declaredBytes, usesGpu: model.use_gpu });',
    without: '',
    tests: [[waiting, 'is looked at before a byte of the body is asked for']],
  },
  {
    name: 'the limit of waiting tasks holds for posts that came together',
    file: `${tasks}repository.ts`,
    text: 'if (refusal !== undefined) throw refusal;\n        await requireStored(',
    without: 'await requireStored(',
    tests: [[waiting, 'is held also when many were let in at once']],
  },
  {
    name: 'posts that come together share one count of the queue',
    file: `${tasks}waiting-limits.ts`,
    text: '(counting ??= countAll(',
    without: '(counting = countAll(',
    tests: [[waiting, 'is counted once for posts that come together']],
  },
  {
    name: 'a commit in doubt is looked up',
    file: 'apps/private-api/src/database/read-again.ts',
    text: 'if (!isInDoubt(error)) throw error;',
    without: 'if (!isInDoubt(error) || withinMs > 0) throw error;',
    tests: [
      [
        'apps/private-api/test/outages/commit-in-doubt.test.ts',
        'the task that was made is answered with',
      ],
    ],
  },
  {
    name: 'a lost answer to a COMMIT is a doubt',
    file: 'apps/private-api/src/database/database.ts',
    text: "if (error instanceof AppError && error.code === 'SERVICE_UNAVAILABLE') inDoubt.add(error);",
    without: "if (error instanceof AppError && error.code === 'INTERNAL') inDoubt.add(error);",
    tests: [
      [
        'apps/private-api/test/outages/commit-in-doubt.test.ts',
        'the task that was made is answered with',
      ],
    ],
  },
  {
    name: 'posts leave MIN_FREE_BYTES',
    file: 'packages/blob-store/src/staging-space.ts',
    text: '(await freeBytes()) - minFreeBytes;',
    without: '(await freeBytes()) - 0 * minFreeBytes;',
    tests: [
      ['packages/blob-store/test/staging-space.test.ts', 'is set apart for a declared length'],
    ],
  },
  {
    name: 'outputs may use what posts leave free',
    file: 'apps/private-api/src/http/zip-upload.ts',
    text: "kind === 'output' ? outputMinFreeBytes : undefined",
    without: "kind === 'output' && outputMinFreeBytes < 0 ? outputMinFreeBytes : undefined",
    tests: [['apps/private-api/test/upload-space.test.ts', 'stop before results do']],
  },
  {
    name: 'no task without an input that is there',
    file: `${tasks}repository.ts`,
    text: 'await requireStored(tx, input, owner);',
    without: 'if (input.bytes < 0) await requireStored(tx, input, owner);',
    tests: [
      [
        'apps/private-api/test/task-repository.test.ts',
        'acknowledges no task whose input was taken',
      ],
    ],
  },
  {
    name: 'a key belongs to its owner',
    file: `${tasks}idempotency-keys.ts`,
    text: 'WHERE owner = $1 AND key = $2 AND created_at >',
    without: "WHERE (owner = $1 OR $1 <> '') AND key = $2 AND created_at >",
    tests: [[idempotent, 'is its owner’s: the same key of another']],
  },
  {
    name: 'a database that is away is waited for with a commit in doubt',
    file: 'apps/private-api/src/database/read-again.ts',
    text: "failure.code !== 'SERVICE_UNAVAILABLE') break;",
    without: "failure.code !== 'INTERNAL') break;",
    tests: [[doubt, 'the task that was made is answered with']],
  },
];
