const dispatcher = 'apps/private-api/src/dispatcher/';
const policy = 'apps/private-api/test/replica-policy.test.ts';
const hostWatch = 'packages/grpc/src/client/host-watch.ts';
const hostGone = 'packages/grpc/test/outages/host-gone.test.ts';
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
    name: 'a replica is stopped when every gateway has reported since it was let go',
    file: 'apps/private-api/src/modules/replicas/ends.ts',
    text: 'WHERE g.reported_at <= r.drained_at',
    without: 'WHERE g.reported_at < r.created_at',
    tests: [[letGo, 'waits for a gateway that has not reported since']],
  },
  {
    name: 'a replica that starts is not evicted',
    file: `${dispatcher}replica-policy.ts`,
    text: 'room.stayingOf(current.id).filter(isReady);',
    without: 'room.stayingOf(current.id);',
    tests: [[policy, 'is not one that is %s: its room is waited for']],
  },
  {
    name: 'no more old replicas go than new ones are ready',
    file: `${dispatcher}replica-policy.ts`,
    text: 'old.length - (wanted - serving)',
    without: 'old.length',
    tests: [[policy, 'takes over one by one']],
  },
  {
    name: 'no old replica goes for a version that has only failed, however long ago',
    file: `${dispatcher}replica-policy.ts`,
    text: 'return failures > 0 || hasOnlyFailed;',
    without: 'return failures > 0 || (hasOnlyFailed && false);',
    tests: [
      ['apps/private-api/test/replica-policy-failing.test.ts', 'has no old one go for it, where'],
    ],
  },
  {
    name: 'the replicas of a consumer that signs off wait for the next process',
    file: 'apps/private-api/src/modules/consumers/repository.ts',
    text: "SET lease_until = greatest(lease_until, now() + $2 * interval '1 millisecond')",
    without: "SET lease_until = greatest(lease_until, now() + 0 * $2 * interval '1 millisecond')",
    tests: [
      ['apps/private-api/test/outages/lost-replicas.test.ts', 'has its replicas wait for the next'],
    ],
  },
  {
    name: 'the log of a replica goes when its model says',
    file: 'apps/private-api/src/retention/ended-replicas.ts',
    text: 'least($1, coalesce(v.log_retention_s, $1))',
    without: '$1',
    tests: [
      ['apps/private-api/test/sweeps-of-replicas.test.ts', 'a log goes when the server says'],
    ],
  },
  {
    name: 'the system of a host that says nothing more is asked whether it is there',
    file: hostWatch,
    text: 'keepAlive: true,',
    without: 'keepAlive: false,',
    tests: [[hostGone, 'a peer whose host vanishes while calls are under way']],
  },
  {
    name: 'the calls of a host that has gone end',
    file: hostWatch,
    text: "goneCodes.includes(code ?? '')",
    without: "goneCodes.includes(code ?? '', goneCodes.length)",
    tests: [[hostGone, 'a peer whose host vanishes while calls are under way']],
  },
  {
    name: 'the books hold replicas',
    file: `${dispatcher}policy.ts`,
    text: 'books.get(id)?.enterReplica(needs)',
    without: 'void needs',
    tests: [[policy, 'is the idle replica that was used least recently']],
  },
];
