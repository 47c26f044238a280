const dispatcher = 'apps/private-api/test/dispatcher.test.ts';
const leases = 'apps/private-api/test/leases.test.ts';
const repository = 'apps/private-api/src/dispatcher/repository.ts';
const consumers = 'apps/private-api/src/modules/consumers/repository.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfTickets = [
  {
    name: 'a ticket that Redis has lost is sent again',
    file: 'apps/private-api/src/dispatcher/dispatcher.ts',
    text: 'await send(await rows.overdueTickets());',
    without: 'await rows.overdueTickets();',
    tests: [[dispatcher, 'sends a ticket again that Redis has lost']],
  },
  {
    name: 'the tickets of who takes none any more go back',
    file: repository,
    text: 'AND NOT ${takesTickets}\n',
    without: 'AND NOT ${takesTickets} AND false\n',
    tests: [[dispatcher, 'takes the tickets back of a consumer that falls silent']],
  },
  {
    name: 'who is silent has no tickets',
    file: consumers,
    text: "AND c.heartbeat_at > now() - $1 * interval '1 millisecond')`;",
    without: 'AND $1::float8 > 0)`;',
    tests: [[dispatcher, 'takes the tickets back of a consumer that falls silent']],
  },
  {
    name: 'who is to be drained has no tickets',
    file: consumers,
    text: "(c.state = 'ready' AND NOT c.draining\n",
    without: "(c.state = 'ready'\n",
    tests: [[leases, 'are listed with what they do, and drained and resumed']],
  },
  {
    name: 'who cannot start containers has no tickets',
    file: consumers,
    text: "(c.state = 'ready' AND NOT c.draining\n",
    without: '(NOT c.draining\n',
    tests: [[dispatcher, 'takes the tickets back of a consumer that is heard of']],
  },
  {
    name: 'a consumer has at most one ticket more than free slots',
    file: repository,
    text: "(greatest(c.slots - count(t.uid) FILTER (WHERE t.state = 'RUNNING'), 0) + 1\n",
    without: '(c.slots + 100\n',
    tests: [[dispatcher, 'sends a consumer its free slots and one more']],
  },
  {
    name: 'only a task that is PENDING is given away',
    file: repository,
    text: "AND t.attempt = a.attempt AND t.state = 'PENDING'",
    without: 'AND t.attempt = a.attempt',
    tests: [[dispatcher, 'gives away what waits, and nothing else']],
  },
  {
    name: 'another consumer is preferred to the one that lost the task',
    file: 'apps/private-api/src/dispatcher/policy.ts',
    text: 'others.length > 0 ? others : able',
    without: 'others.length < 0 ? others : able',
    tests: [['apps/private-api/test/policy.test.ts', 'avoids the consumer that lost the task']],
  },
  {
    name: 'the dispatcher knows who lost the task',
    file: repository,
    text: 'consumer_id AS "lastConsumerId"',
    without: 'NULL AS "lastConsumerId"',
    tests: [[dispatcher, 'gives another attempt when a lease lapses']],
  },
  {
    name: 'a task that pauses after a fault is not given away',
    file: repository,
    text: ' AND (not_before IS NULL OR not_before <= now())',
    without: '',
    tests: [[leases, 'pause after a fault, twice as long each time']],
  },
];
