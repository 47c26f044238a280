import { faultCauses } from '@inference-server/contracts';
import type { LogLine } from '../world/log-tail.js';
import type { World } from '../world/world.js';

/** A way back that the server has: reached when one of its processes has logged this. */
interface Branch {
  name: string;
  msg: string;
  /** More of the line. */
  has?: Record<string, unknown>;
}

const left = (how: string): Branch => ({
  name: `an attempt is left: ${how}`,
  msg: 'an attempt is left',
  has: { how },
});
const swept = (sweep: string): Branch => ({
  name: `a sweep removed something: ${sweep}`,
  msg: 'swept',
  has: { sweep },
});

/** Taken only when a fault comes at the very moment of a short step, or where no fault here leads. */
const chances: readonly string[] = [
  // A moment between two steps.
  'a blob could not be removed',
  'a deleted blob was left for a sweep',
  'a fetched output could not be noted',
  'a leftover stays',
  'a replaced content was left for a sweep',
  'a volume could not be judged',
  'a volume without labels stays',
  'removed a volume without labels',
  'an abandoned blob was left for a sweep',
  'an orphan stays',
  'refused attempts are not in the audit',
  'the storage of containers cannot be measured',
  'the use of a key could not be noted',
  'tickets of a gone consumer stay',
  'uploads under way could not be told of',
  // Here the public-apis have no Redis: all requests come from this machine, and those are not counted.
  'requests are counted without Redis',
  // Invocations are in Postgres there.
  'the Redis of invocations is away',
  // No rpc-gateway runs there.
  'connections are turned away: there are too many',
  'no news of models and replicas',
  // With HAND_OVER=false alone.
  'a container could not be stopped',
  // There are no runtime models.
  'a replica met a fault',
  'a replica left traces in the engine',
  'a gateway is not in the network of a replica',
  'a gateway cannot be looked at',
  'gateways do not run on this engine',
  'replicas end before their calls',
  'replicas could not be reported',
  'the replicas of the engine could not be listed',
  // There is no policy.
  'a consumer is not let in by the policy',
  // Each model has a consumer there.
  'no consumer could run a model',
  // An engine that is away just when a consumer starts.
  'waiting for the engine',
  // There is no nvidia-smi.
  'a GPU does not answer, and is left out',
  'a GPU is divided, and has no slices',
  'a run took more of a GPU than its model says',
  'the GPUs cannot be listed yet',
  'what a run was to have did not become free',
  'nvidia-smi does not know a device that is named',
  // There are no runtime models.
  'a replica has failed',
  'a replica is lost with its consumer',
  'gateways are not heard of any more',
  // In a database that is another than before alone.
  'private-api does not know this consumer: what is its own stays',
];

/** Whether a whole soak must have taken the way back of this name. */
export function isDemanded(name: string): boolean {
  return !chances.includes(name);
}

/** Those that a log tells of. */
export const loggedBranches: readonly Branch[] = [
  ...['adopted', 'superseded', 'parked', 'untold'].map(left),
  ...['abandoned-uploads', 'deleted-blobs', 'staged-files', 'unknown-files'].map(swept),
  ...[
    'adopted',
    'an attempt could not be taken up',
    'what was left behind could not be taken up',
    'removed a leftover',
    'a claim was refused',
    'a lease was not renewed',
    'a zip is fetched again',
    'the upload is repeated',
    'a settlement was not taken',
    'an attempt met a fault',
    'a heartbeat was not taken',
    'registered again',
    'not registered yet',
    'waiting for it to end',
    'the container engine is away',
    'the container engine answers',
    'in quarantine: it takes no tasks',
    'out of quarantine: a probe passed',
    'a lease lapsed',
    'a dispatcher pass failed',
    'tickets could not be sent',
    'not listening to the database, trying again',
    'a connection broke',
    'Redis is away',
    'a ticket could not be claimed',
    'a lease could not be parked',
    'a sweep failed',
    'removed an orphan',
    'a commit whose answer was lost was made',
    'a key is answered again',
    'a claim is answered again',
    'a settlement is answered again',
    'a lapsed attempt is resumed',
    'tickets are sent again',
    'tickets are returned',
    'leads from now on',
    'not signed off: private-api will notice',
    'the blob store did not keep a zip',
    'an attempt left traces in the engine',
  ].map((msg) => ({ name: msg, msg })),
  ...chances.map((msg) => ({ name: msg, msg })),
];

/** Counts how often each way back was taken; in a soak all must be but those of chance. */
export function countBranches(): {
  note(line: LogLine): void;
  /** By the branch's name; 0: never. The causes of faults are those of the attempts' rows. */
  counts(world: Pick<World, 'query'>): Promise<Record<string, number>>;
} {
  const logged = Object.fromEntries(loggedBranches.map(({ name }) => [name, 0]));
  return {
    note(line) {
      for (const { name, msg, has = {} } of loggedBranches) {
        const isIt =
          line.msg === msg && Object.entries(has).every(([key, value]) => line[key] === value);
        if (isIt) logged[name] = (logged[name] ?? 0) + 1;
      }
    },
    async counts({ query }) {
      const rows = await query<{ reason: string; times: number }>(
        `SELECT reason::text, count(*)::int AS times FROM attempts
          WHERE outcome IN ('fault', 'lost') GROUP BY reason`,
      );
      const times = new Map(rows.map(({ reason, times }) => [reason, times]));
      // `upload_failed` is for a store that keeps other bytes than it was sent: no fault here makes it do so.
      const causes = Object.keys(faultCauses)
        .filter((cause) => !['internal', 'upload_failed'].includes(cause))
        .map((cause) => [`an attempt met ${cause}`, times.get(cause) ?? 0] as const);
      return { ...logged, ...Object.fromEntries(causes) };
    },
  };
}
