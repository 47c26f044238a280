/**
 * A defence of the server, how to do without it, and the run that must then fail: `faults` are parts of
 * the lines of the schedule of seed 1, whose first `count` strike. `breaks` is what the defence is for: an
 * invariant (by its name, faults/src/run/invariants.ts) with a finding of this kind. That another one is
 * broken counts for nothing.
 *
 * @typedef {{ name: string, file: string, text: string, without: string, faults: string[], count: number, breaks: { invariant: string, finding: RegExp } }} Mutation
 */

const ended = 'acknowledged tasks in exactly one end';
const once = 'accepted outputs at most 1 a task, and 1 task a key';
const again = 'containers started again only for a fault';
const tidy = 'nothing left over';

/** @type {readonly Mutation[]} */
export const mutations = [
  {
    name: 'the fence',
    file: 'apps/private-api/src/modules/attempts/held-attempt.ts',
    text: 'AND epoch = $3 AND holder = $4 AND ended_at IS NULL',
    without: 'AND $3::int IS NOT NULL AND $4::text IS NOT NULL',
    // Its attempt is another's by the time it goes on, with an output in its hands.
    faults: [
      'the process that is at it is frozen for longer than a lease (container_started)',
      'the process that is at it is frozen for longer than a lease (container_ended)',
      'the process that is at it is frozen for longer than a lease (output_sent)',
    ],
    count: 3,
    breaks: { invariant: once, finding: /: \d+ accepted outputs$/ },
  },
  {
    name: 'the idempotency of posts',
    file: 'apps/private-api/src/modules/tasks/repository.ts',
    text: 'idempotencyKey && (await takeKey(tx, post, idempotencyKey))',
    without: "idempotencyKey === '' ? await takeKey(tx, post, idempotencyKey) : undefined",
    // After the row is committed, and before that is answered.
    faults: ['the process that is at it is killed (post_committed)'],
    count: 1,
    breaks: { invariant: once, finding: /tasks for one key$|no post without an answer/ },
  },
  {
    name: 'the parking of leases',
    file: 'apps/job-consumer/src/run/attempt.ts',
    text: "if (how === 'to be left') return tracesAfter(run, await parkAttempt(run));",
    without: "if (how === 'to be left') return tracesAfter(run, 'parked');",
    faults: ['run: the process that is at it is asked to end and stays away for longer'],
    count: 2,
    breaks: { invariant: again, finding: /for no fault, lease_lost/ },
  },
  {
    name: 'the reconciliation of a consumer',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: '[...found].map(([key, ticket]) => takeUp(key, ticket))',
    without: '[...found].slice(found.size).map(([key, ticket]) => takeUp(key, ticket))',
    // The container runs on, and is nobody's.
    faults: ['run: the process that is at it is killed and stays away for longer than a lease'],
    count: 2,
    breaks: { invariant: tidy, finding: /^engine-\w+: .*\((run|input|output)\)$/ },
  },
  {
    name: 'the adoption of what runs',
    file: 'apps/job-consumer/src/reconciliation.ts',
    text: 'if (claim !== undefined) {',
    without: 'if (claim !== undefined && held.size < 0) {',
    // Its container is removed, and its lease lapses, which was parked for longer than all this lasts.
    faults: [
      'run: the process that is at it is asked to end and stays away for longer than a lease (container_started)',
    ],
    count: 2,
    breaks: { invariant: again, finding: /for no fault, lease_lost/ },
  },
  {
    name: 'the sweeps',
    file: 'apps/private-api/src/retention/retention.ts',
    text: 'for (const sweep of sweeps) more =',
    without: 'for (const sweep of sweeps.slice(sweeps.length)) more =',
    // After the input is stored, and before its row is committed.
    faults: ['the process that is at it is killed (post_stored)'],
    count: 1,
    breaks: { invariant: tidy, finding: /^blob \S+: (pending|a pending row)/ },
  },
  {
    name: 'the reconciler of tickets',
    file: 'apps/private-api/src/dispatcher/dispatcher.ts',
    text: 'await send(overdue);',
    without: 'if (timings.tickMs < 0) await send(overdue);',
    // After the row has its consumer, and before its ticket is sent.
    faults: ['the process that is at it is killed (ticket_assigned)'],
    count: 1,
    breaks: { invariant: ended, finding: /: QUEUED$/ },
  },
];
