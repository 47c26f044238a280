const endAttempt = 'apps/private-api/src/modules/attempts/end-attempt.ts';
const attempts = 'apps/private-api/src/modules/attempts/repository.ts';
const tasks = 'apps/private-api/src/modules/tasks/repository.ts';
const faultCauses = 'packages/contracts/src/fault-causes.ts';
const leases = 'apps/private-api/test/outages/leases.test.ts';
const ofAttempts = 'apps/private-api/test/attempts.test.ts';
const ofTasks = 'apps/private-api/test/tasks.test.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfEnds = [
  {
    name: 'MAX_ATTEMPTS: a task meets so many faults and no more',
    file: endAttempt,
    text: '(isFault && faults < maxAttempts)',
    without: '(isFault && maxAttempts > 0)',
    tests: [[ofAttempts, 'gives another attempt after a fault, at most three']],
  },
  {
    name: 'a fault gives another attempt',
    file: endAttempt,
    text: '(isFault && faults < maxAttempts)',
    without: '(isFault && faults < maxAttempts && maxAttempts < 0)',
    tests: [[ofAttempts, 'gives another attempt after a fault, at most three']],
  },
  {
    name: 'an attempt that was given back counts towards nothing',
    file: endAttempt,
    text: "FILTER (WHERE a.outcome IN ('fault', 'lost'))",
    without: "FILTER (WHERE a.outcome IN ('fault', 'lost', 'released'))",
    tests: [[ofAttempts, 'gives another attempt after a fault, at most three']],
  },
  {
    name: 'a lapsed lease counts towards MAX_ATTEMPTS',
    file: endAttempt,
    text: "FILTER (WHERE a.outcome IN ('fault', 'lost'))",
    without: "FILTER (WHERE a.outcome IN ('fault'))",
    tests: [
      ['apps/private-api/test/dispatcher.test.ts', 'gives another attempt when a lease lapses'],
    ],
  },
  {
    name: 'a model’s own failure is final',
    file: endAttempt,
    text: "(outcome === 'failed' && failures <= retries)",
    without: "(outcome === 'failed' && failures <= retries + 1)",
    tests: [
      [ofTasks, 'says 552 with the reason and the end of the log'],
      [leases, "of a model's own failure are as many as it asks for"],
    ],
  },
  {
    name: 'a model may ask for retries of its own failures',
    file: endAttempt,
    text: "(outcome === 'failed' && failures <= retries)",
    without: "(outcome === 'failed' && failures <= retries && retries < 0)",
    tests: [[leases, "of a model's own failure are as many as it asks for"]],
  },
  {
    name: 'there is a pause after a fault',
    file: endAttempt,
    text: 'const pauseS = isFault ? backOffAfter(causeOf(reason), faults) : 0;',
    without: 'const pauseS = isFault ? 0 * backOffAfter(causeOf(reason), faults) : 0;',
    tests: [[leases, 'pause after a fault, twice as long each time']],
  },
  {
    name: 'the pause doubles with each fault',
    file: faultCauses,
    text: '2 ** (faults - 1)',
    without: '1 ** (faults - 1)',
    tests: [[leases, 'pause after a fault, twice as long each time']],
  },
  {
    name: 'no pause is longer than 300 s',
    file: faultCauses,
    text: 'return Math.min(maxBackOffS, ',
    without: 'return Math.min(1000 * maxBackOffS, ',
    tests: [['packages/contracts/test/fault-causes.test.ts', 'doubles, and ends at 300 s']],
  },
  {
    name: 'a cancel that was asked for comes true with any end',
    file: endAttempt,
    text: 'if (cancelRequested) await tx.query(cancelled',
    without: "if (cancelRequested && uid === '') await tx.query(cancelled",
    tests: [[leases, 'comes true with a fault, and with a lease that lapses']],
  },
  {
    name: 'a cancel beats a result that comes later',
    file: attempts,
    text: "if (cancelRequested && (end.outcome === 'finished' || end.outcome === 'failed')) {",
    without: "if (cancelRequested && end.outcome === 'lost') {",
    tests: [[leases, 'tells the holder of a running one within a second']],
  },
  {
    name: 'a result that came first beats a cancel',
    file: tasks,
    text: 'AND deleted_at IS NULL AND state IN ${cancelled.from}',
    without: 'AND deleted_at IS NULL',
    tests: [[leases, 'is a 409 when the task ended first']],
  },
  {
    name: 'a holder cancels nothing by itself',
    file: attempts,
    text: "if (end.outcome === 'cancelled' && !cancelRequested) {",
    without: "if (end.outcome === 'lost' && !cancelRequested) {",
    tests: [[leases, 'is not what a holder may do by itself']],
  },
  {
    name: 'a running task is CANCELLED when its container is gone, not before',
    file: tasks,
    text: "state = CASE WHEN state = 'RUNNING' THEN state ELSE ${cancelled.to} END",
    without: 'state = ${cancelled.to}',
    tests: [[leases, 'tells the holder of a running one within a second']],
  },
  {
    name: 'DELETE cancels first',
    file: tasks,
    text: 'await cancelTask(tx, { uid, owner });\n',
    without: '',
    tests: [[ofTasks, 'cancels a running one; its files go with its container']],
  },
  {
    name: 'the files of a deleted task go when it has ended, not before',
    file: 'apps/private-api/src/modules/tasks/dropped-files.ts',
    text: 'AND deleted_at IS NOT NULL AND ended_at IS NOT NULL',
    without: 'AND deleted_at IS NOT NULL',
    tests: [[ofTasks, 'cancels a running one; its files go with its container']],
  },
  {
    name: 'the files of a deleted task go when it ends',
    file: endAttempt,
    text: 'return dropFilesOfDeleted(tx, uid);',
    without: "return dropFilesOfDeleted(tx, '');",
    tests: [[ofTasks, 'cancels a running one; its files go with its container']],
  },
  {
    name: 'a settlement that is asked for again has the same answer',
    file: 'apps/private-api/src/modules/attempts/service.ts',
    text: "if (await attempts.wasSettled(held, end.outcome)) return { outcome: 'settled' };",
    without: 'await attempts.wasSettled(held, end.outcome);',
    tests: [[ofAttempts, 'settles once: again it is the same answer']],
  },
  {
    name: 'no result without the output that it names',
    file: endAttempt,
    text: 'AND a.number = $2 AND b.sha256 = $3`',
    without: "AND a.number = $2 AND $3 <> ''`",
    tests: [[ofAttempts, 'refuses a settlement that names an output that is not there']],
  },
];
