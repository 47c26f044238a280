const dispatcher = 'apps/private-api/src/dispatcher/';
const policy = 'apps/private-api/test/replica-policy.test.ts';
const letGo = 'apps/private-api/test/outages/replicas-let-go.test.ts';

/** @type {import('./rules.mjs').Rule[]} */
export const rulesOfReplicas = [
  {
    name: 'a busy replica is never evicted',
    file: `${dispatcher}replica-policy.ts`,
    text: 'inFlight === 0 && idleMs >= restMs',
    without: 'inFlight >= 0 && idleMs >= restMs',
    tests: [[policy, 'is not one that is %s: its room is waited for']],
  },
  {
    name: 'a replica is stopped when no gateway has it any more',
    file: 'apps/private-api/src/modules/replicas/ends.ts',
    text: "OR g.holds @> jsonb_build_array(jsonb_build_object('replica_id', r.id))",
    without: '',
    tests: [[letGo, 'stops when no gateway has it any more']],
  },
  {
    name: 'the books hold replicas',
    file: `${dispatcher}policy.ts`,
    text: 'books.get(id)?.enterReplica(needs)',
    without: 'void needs',
    tests: [[policy, 'is the idle replica that was used least recently']],
  },
];
