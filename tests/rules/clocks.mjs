const retention = 'apps/private-api/src/retention/';
const clocks = 'apps/private-api/test/clocks.test.ts';

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
    text: "AND t.ended_at <= now() - $1 * interval '1 second'",
    without: "AND t.ended_at <= now() - ($1 + 9e9) * interval '1 second'",
    tests: [[clocks, 'is kept for its time after the end of the task, not of the post']],
  },
  {
    name: 'the time of an input counts from the end of its task',
    file: `${retention}inputs.ts`,
    text: 't.ended_at IS NOT NULL\n       AND t.ended_at <= now()',
    without: 't.created_at IS NOT NULL\n       AND t.created_at <= now()',
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
];
