const dispatcher = 'apps/private-api/test/dispatcher.test.ts';
const leases = 'apps/private-api/test/outages/leases.test.ts';
const drained = 'apps/private-api/test/drained-consumers.test.ts';
const repository = 'apps/private-api/src/dispatcher/repository.ts';
const consumers = 'apps/private-api/src/modules/consumers/repository.ts';
const policy = 'apps/private-api/src/dispatcher/policy.ts';
const books = 'apps/private-api/src/dispatcher/books.ts';
const ofNeeds = 'apps/private-api/test/needs.test.ts';
const ofPolicy = 'apps/private-api/test/policy.test.ts';
const model = 'apps/private-api/test/outages/life-model.test.ts';
const signOff = 'apps/private-api/test/sign-off.test.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfTickets = [
  {
    name: 'a ticket that Redis has lost is sent again',
    file: 'apps/private-api/src/dispatcher/dispatcher.ts',
    text: 'await send(overdue);',
    without: '',
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
    name: 'a consumer has no more tickets than it has slots',
    file: books,
    text: 'takesSlot(kind) ? slots - taken.tasks : Infinity,\n          times',
    without: 'times',
    tests: [
      [dispatcher, 'sends a consumer as many as it has slots'],
      [ofPolicy, 'lets no more share one than there are slots'],
    ],
  },
  {
    name: 'who has a GPU alone has it alone',
    file: books,
    text: 'if (taken.isAlone || (part.isAlone && taken.tasks > 0)) return 0;',
    without: '',
    tests: [
      [ofPolicy, 'gives a GPU to one that does not say how much of it'],
      [ofPolicy, 'gives it to none while another is there'],
    ],
  },
  {
    name: 'those that share a GPU have no more of its memory than there is',
    file: books,
    text: 'times(device?.memory_mib ?? Infinity, taken.gpuMemoryMib, part.gpuMemoryMib),',
    without: '',
    tests: [[ofPolicy, 'lets several share a GPU whose sum fits']],
  },
  {
    name: 'those on one consumer have no more cores than there are',
    file: books,
    text: 'times(share.cpus, taken.cpus, part.cpus),',
    without: '',
    tests: [[ofPolicy, 'counts cores']],
  },
  {
    name: 'those on one consumer have no more memory than there is',
    file: books,
    text: 'times(share.memory_mib, taken.memoryMib, part.memoryMib),',
    without: '',
    tests: [[ofPolicy, 'counts memory, and what those take that say nothing']],
  },
  {
    name: 'what is lent is not free',
    file: policy,
    text: 'for (const id of [task.consumerId, ...task.lenders]) books',
    without: 'for (const id of [task.consumerId]) books',
    tests: [[ofPolicy, 'counts what is lent']],
  },
  {
    name: 'what fits nowhere now keeps a place',
    file: policy,
    text: 'for (const book of places) books.add(book);',
    without: '',
    tests: [
      [ofPolicy, 'keeps the place that is the first to be free'],
      [ofPolicy, 'comes to its turn while small ones come all the time'],
    ],
  },
  {
    name: 'what came later makes no place nearer',
    file: policy,
    text: 'book.youngerThan(seq) * manyTasks + book.tasks;',
    without: 'book.tasks;',
    tests: [[ofPolicy, 'keeps no other for what has less on it that came later']],
  },
  {
    name: 'each model keeps a place',
    file: policy,
    text: 'const count = counts.get(versionId) ?? 0;',
    without: 'const count = [...counts.values()].reduce((sum, one) => sum + one, 0);',
    tests: [[ofPolicy, 'keeps one for each model, whatever the others keep']],
  },
  {
    name: 'who could come back counts for what can be run',
    file: consumers,
    text: "WHERE $3 OR heartbeat_at > now() - $2 * interval '1 millisecond' ORDER BY id`,",
    without: 'WHERE $3 OR (${takesTickets} AND $2::float8 > 0) ORDER BY id`,',
    tests: [[ofNeeds, 'says so for as long as it waits']],
  },
  {
    name: 'who was not heard of while nobody led is not missed at once',
    file: 'apps/private-api/src/dispatcher/dispatcher.ts',
    text: 'assignRoom(steadyMs > timings.leaseGraceMs)',
    without: 'assignRoom(steadyMs >= 0)',
    tests: [[ofNeeds, 'is not missed before it could be']],
  },
  {
    name: 'only who leads gives tasks away',
    file: repository,
    text: 'WHERE EXISTS (SELECT FROM lead)\n            AND t.uid',
    without: 'WHERE t.uid',
    tests: [[dispatcher, 'is followed by nobody who does not lead']],
  },
  {
    name: 'only a task that is PENDING is given away',
    file: repository,
    text: 'AND t.attempt = a.attempt AND t.state IN ${ticketSent.from}',
    without: 'AND t.attempt = a.attempt',
    tests: [[dispatcher, 'gives away what waits, and nothing else']],
  },
  {
    name: 'another consumer is preferred to the one that lost the task',
    file: policy,
    text: '? [others] : [others, able];',
    without: '? [others] : [able];',
    tests: [[ofPolicy, 'avoids the consumer that lost the task']],
  },
  {
    name: 'a retry waits for another consumer that is full',
    file: policy,
    text: 'hasOthers && task.shunsLast ? [others]',
    without: 'hasOthers && task.uid === undefined ? [others]',
    tests: [[ofPolicy, 'keeps what shuns a consumer for another that is full']],
  },
  {
    name: 'a retry does not wait for a consumer that could not run it',
    file: policy,
    text: 'const able = books.filter(({ consumer }) => isFor(task.needs, consumer));',
    without: 'const able = books;',
    tests: [[ofPolicy, 'keeps nothing for a consumer that could not run it']],
  },
  {
    name: 'a retry waits some minutes for another consumer, no longer',
    file: repository,
    text: "t.not_before > now() - $2 * interval '1 millisecond'",
    without: "t.not_before > now() - ($2 + 9e9) * interval '1 millisecond'",
    tests: [[dispatcher, 'lets a retry wait for another consumer that is full']],
  },
  {
    name: 'a retry waits for another consumer after faults and lost leases only',
    file: repository,
    text: "SELECT a.outcome IN ('fault', 'lost') FROM",
    without: "SELECT a.outcome IN ('fault', 'lost', 'failed') FROM",
    tests: [[dispatcher, 'lets no retry wait that met no fault']],
  },
  {
    name: 'what waits for another consumer does not stand before what need not',
    file: repository,
    text: 'AND ((t.consumer_id = ANY (of."notShunning")) IS NOT TRUE OR NOT ${shunsLast})',
    without: '',
    tests: [[dispatcher, 'lets a retry wait for another consumer that is full']],
  },
  {
    name: 'a task whose ticket came back is as its last attempt left it',
    file: 'apps/private-api/src/modules/tasks/transitions.ts',
    text: 'a.number = t.attempt - 1)',
    without: 'a.number = t.attempt)',
    tests: [[model, 'keeps to the table and to one holder']],
  },
  {
    name: 'only tickets go back from who takes none any more',
    file: repository,
    text: 'WHERE t.state IN ${ticketReturned.from} AND NOT ${takesTickets}',
    without:
      "WHERE (t.state IN ${ticketReturned.from} OR t.state = 'RUNNING') AND NOT ${takesTickets}",
    tests: [[model, 'keeps to the table and to one holder']],
  },
  {
    name: 'who is another process has no tickets of the one before',
    file: consumers,
    text: 'AND EXISTS (SELECT FROM before WHERE holder <> $2)',
    without: 'AND NOT EXISTS (SELECT FROM before)',
    tests: [
      [signOff, 'a consumer that is another process has no tickets'],
      [model, 'keeps to the table and to one holder'],
    ],
  },
  {
    name: 'only tickets go back from who signs off',
    file: consumers,
    text: 'WHERE state IN ${ticketReturned.from} AND (consumer_id = $1 OR $1 = ANY (lenders))\n                   FOR',
    without:
      "WHERE (state IN ${ticketReturned.from} OR state = 'RUNNING') AND consumer_id = $1\n                   FOR",
    tests: [[model, 'keeps to the table and to one holder']],
  },
  {
    name: 'who is drained has no tickets from the answer on',
    file: consumers,
    text: 'for (const { uid } of tickets) {',
    without: 'for (const { uid } of tickets.slice(0, 0)) {',
    tests: [[drained, 'claims nothing from the answer on']],
  },
  {
    name: 'a claim that is under way when a consumer is drained keeps its task',
    file: consumers,
    text: '(consumer_id = $2 OR $2 = ANY (lenders))\n              AND state IN ${ticketReturned.from}',
    without: '(consumer_id = $2 OR $2 = ANY (lenders))',
    tests: [[drained, 'is answered of after a claim that was under way']],
  },
  {
    name: 'only a ticket is sent again',
    file: repository,
    text: "WHERE state = 'QUEUED' AND ticket_sent_at",
    without: "WHERE state IN ('QUEUED', 'RUNNING') AND ticket_sent_at",
    tests: [[model, 'keeps to the table and to one holder']],
  },
  {
    name: 'the table of states moves a task from no state too many',
    file: 'packages/contracts/src/task-states.ts',
    text: "claimed: { from: ['QUEUED'], to",
    without: "claimed: { from: ['QUEUED', 'PENDING'], to",
    tests: [
      ['packages/contracts/test/task-states.test.ts', 'is the one of docs/task-life.md'],
      [model, 'keeps to the table and to one holder'],
    ],
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
    text: ' AND (t.not_before IS NULL OR t.not_before <= now())',
    without: '',
    tests: [[leases, 'pause after a fault, twice as long each time']],
  },
];
