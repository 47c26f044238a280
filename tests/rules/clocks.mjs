const retention = 'apps/private-api/src/retention/';
const clocks = 'apps/private-api/test/outages/clocks.test.ts';
const limits = 'apps/private-api/test/outages/clock-limits.test.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfClocks = [
  {
    name: 'QUEUE_TTL: a task that waited for too long expires',
    file: `${retention}expired-tasks.ts`,
    text: "AND created_at < now() - $1 * interval '1 second'",
    without: "AND created_at < now() - ($1 + 9e9) * interval '1 second'",
    tests: [[clocks, 'ends a task that is']],
  },
  {
    name: 'QUEUE_TTL counts anew before another attempt',
    file: `${retention}expired-tasks.ts`,
    text: "AND (not_before IS NULL OR not_before < now() - $1 * interval '1 second')",
    without: '',
    tests: [[clocks, 'counts anew before another attempt']],
  },
  {
    name: 'an output is kept for its time and no longer',
    file: `${retention}outputs.ts`,
    text: 'least(v.retention_s, $1::float8)',
    without: '(least(v.retention_s, $1::float8) + 9e9)',
    tests: [[clocks, 'is kept for its time after the end']],
  },
  {
    name: 'a model may have its outputs kept for less',
    file: `${retention}outputs.ts`,
    text: 'least(v.retention_s, $1::float8)',
    without: '$1::float8',
    tests: [[clocks, 'is kept as long as its model says']],
  },
  {
    name: 'no model has its outputs kept for longer than the server says',
    file: `${retention}outputs.ts`,
    text: 'least(v.retention_s, $1::float8)',
    without: 'coalesce(v.retention_s, $1::float8)',
    tests: [[clocks, 'is kept no longer than the server says']],
  },
  {
    name: 'an output that was fetched goes sooner',
    file: `${retention}outputs.ts`,
    text: "AND fetched_at <= now() - $2 * interval '1 second'",
    without: "AND fetched_at <= now() - ($2 + 9e9) * interval '1 second'",
    tests: [[clocks, 'goes a day after it was fetched']],
  },
  {
    name: 'the first whole download counts, no later one',
    file: 'apps/private-api/src/modules/tasks/repository.ts',
    text: "AND state = 'FINISHED' AND fetched_at IS NULL",
    without: "AND state = 'FINISHED'",
    tests: [[clocks, 'goes a day after it was fetched']],
  },
  {
    name: 'an input goes some time after the end of its task',
    file: `${retention}inputs.ts`,
    text: 'least(v.input_retention_s, $1::float8)',
    without: '(least(v.input_retention_s, $1::float8) + 9e9)',
    tests: [[clocks, 'is kept for its time after the end of the task, not of the post']],
  },
  {
    name: 'the time of an input counts from the end of its task',
    file: `${retention}inputs.ts`,
    text: 'ended_at IS NOT NULL\n          AND ended_at <= now()',
    without: 'created_at IS NOT NULL\n          AND created_at <= now()',
    tests: [[clocks, 'is kept for its time after the end of the task, not of the post']],
  },
  {
    name: 'a log goes after its time',
    file: `${retention}logs.ts`,
    text: "AND ended_at <= now() - $1 * interval '1 second'",
    without: "AND ended_at <= now() - ($1 + 9e9) * interval '1 second'",
    tests: [[clocks, 'is kept for its time after the attempt']],
  },
  {
    name: 'a log is kept for its time',
    file: `${retention}logs.ts`,
    text: "AND ended_at <= now() - $1 * interval '1 second'",
    without: "AND ended_at <= now() - 0 * $1 * interval '1 second'",
    tests: [[clocks, 'is kept for its time after the attempt']],
  },
  {
    name: 'a model may have its inputs kept for less',
    file: `${retention}inputs.ts`,
    text: 'least(v.input_retention_s, $1::float8)',
    without: '$1::float8',
    tests: [[clocks, 'is kept as long as its model says']],
  },
  {
    name: 'no model has its inputs kept for longer than the server says',
    file: `${retention}inputs.ts`,
    text: 'least(v.input_retention_s, $1::float8)',
    without: 'coalesce(v.input_retention_s, $1::float8)',
    tests: [[clocks, 'is kept no longer than the server says']],
  },
  {
    name: 'a model may have its logs kept for less',
    file: `${retention}logs.ts`,
    text: 'WHERE v.log_retention_s IS NOT NULL) AS d',
    without: 'WHERE v.log_retention_s < 0) AS d',
    tests: [[clocks, 'is kept as long as its model says']],
  },
  {
    name: 'an attempt knows the model that says how long its log is kept',
    file: 'apps/private-api/src/modules/attempts/repository.ts',
    text: 'SELECT uid, attempt, $3, lenders, model_version_id, 1,',
    without: 'SELECT uid, attempt, $3, lenders, NULL::uuid, 1,',
    tests: [[clocks, 'is kept as long as its model says']],
  },
  {
    name: 'no lease lasts for longer than the longest that is given',
    file: 'apps/private-api/src/modules/attempts/repository.ts',
    text: "now() + $6 * interval '1 millisecond')",
    without: "now() + ($6 + 9e9) * interval '1 millisecond')",
    tests: [
      [
        'apps/private-api/test/outages/leases.test.ts',
        'no lease lasts for longer than the longest',
      ],
    ],
  },
  {
    name: 'a migration waits for no lock without an end',
    file: 'apps/private-api/src/database/schema-engine.ts',
    text: 'SET LOCAL lock_timeout = ${this.#lockTimeoutMs};',
    without: 'SET LOCAL lock_timeout = ${this.#lockTimeoutMs * 1000};',
    tests: [
      ['apps/private-api/test/migrations.test.ts', 'lets go while others have its table'],
      ['apps/private-api/test/migrations.test.ts', 'is no obstacle to the next try'],
    ],
  },
  {
    name: 'a log that was removed is a 553',
    file: 'apps/private-api/src/modules/tasks/service.ts',
    text: 'if (found.isRemoved) {',
    without: 'if (found.isRemoved && uid === found.log) {',
    tests: [[clocks, 'that was removed is not the log of a container that wrote nothing']],
  },
  {
    name: 'an empty log is no removed one',
    file: `${retention}logs.ts`,
    text: "(SELECT ctid AS place, octet_length(log) AS bytes FROM attempts\n          WHERE log <> ''",
    without:
      '(SELECT ctid AS place, octet_length(log) AS bytes FROM attempts\n          WHERE log IS NOT NULL',
    tests: [[clocks, 'that was removed is not the log of a container that wrote nothing']],
  },
  {
    name: 'the log of a lost attempt is empty, not removed',
    file: 'apps/private-api/src/modules/tasks/repository.ts',
    text: "last.log IS NULL AND last.outcome <> 'lost'",
    without: 'last.log IS NULL AND last.outcome IS NOT NULL',
    tests: [[clocks, 'is empty while no attempt has ended, and of one that was lost']],
  },
  {
    name: 'a run that takes too long is ended',
    file: 'apps/job-consumer/src/run/execute.ts',
    text: 'const limitMs = run.work.timeout_s * 1000;',
    without: 'const limitMs = run.work.timeout_s * 10_000;',
    tests: [['apps/job-consumer/test/attempt.test.ts', 'for taking too long']],
  },
  {
    name: 'a run of a model that says nothing has a longest time',
    file: 'apps/private-api/src/modules/attempts/service.ts',
    text: 'timeoutS ?? runTime.usualS',
    without: 'timeoutS ?? runTime.longestS',
    tests: [[limits, 'of a model that says nothing is the usual one']],
  },
  {
    name: 'no run takes longer than the server says, whatever was granted',
    file: 'apps/private-api/src/modules/attempts/service.ts',
    text: 'Math.min(timeoutS ?? runTime.usualS, runTime.longestS)',
    without: 'Math.min(timeoutS ?? runTime.usualS, runTime.longestS * 1e9)',
    tests: [
      [limits, 'is no longer than any, be it the usual one'],
      [limits, 'is no longer than the server says'],
    ],
  },
  ...[
    ["['timeout_s', limits.runTimeoutS, 'MAX_RUN_TIMEOUT_S']", 'timeout_s'],
    ["['retention_s', limits.retentionS, 'OUTPUT_RETENTION_S']", 'retention_s'],
    ["['input_retention_s', limits.inputRetentionS, 'INPUT_RETENTION_S']", 'input_retention_s'],
    ["['log_retention_s', limits.logRetentionS, 'LOG_RETENTION_S']", 'log_retention_s'],
  ].map(([text, parameter]) => ({
    name: `more ${parameter} than the server allows is refused`,
    file: 'apps/private-api/src/modules/models/service.ts',
    text: `${text},`,
    without: '',
    /** @type {[string, string][]} */
    tests: [[limits, 'than the server allows is refused']],
  })),
];
