import { Queue } from 'bullmq';
import { waitUntil } from '@inference-server/local-services';
import { queueNameOf, type Ticket } from '@inference-server/task-queue';
import type { Random } from '../random.js';
import type { World } from '../world/world.js';
import type { Fault, Scene } from './fault.js';

const ofEach = 2;
const takenWithinMs = 15_000;

/** Whose tickets are sent once more, and with how much older a number. */
const kinds = [
  { of: 'a waiting task', condition: `state = 'PENDING'`, older: 0 },
  { of: 'a queued task', condition: `state = 'QUEUED'`, older: 0 },
  { of: 'a running task', condition: `state = 'RUNNING'`, older: 0 },
  {
    of: 'an ended task',
    condition: `state NOT IN ('PENDING', 'QUEUED', 'RUNNING') AND deleted_at IS NULL`,
    older: 0,
  },
  { of: 'a deleted task', condition: 'deleted_at IS NOT NULL', older: 0 },
  { of: 'an earlier attempt', condition: 'attempt > 1', older: 1 },
  { of: 'an attempt to come', condition: `state IN ('QUEUED', 'RUNNING')`, older: -1 },
] as const;

/** Tickets that the dispatcher has not sent: each to the consumer that has its task, and to another. */
export const ticketFaults: readonly Fault[] = [
  {
    name: 'duplicate and stale tickets',
    phases: ['ticket', 'claim', 'stage', 'run', 'collect', 'settle'],
    async strike(scene) {
      const { world, evidence, goOn, proof, undoing } = scene;
      const consumers = await world.query<{ id: string }>(
        `SELECT id FROM consumers WHERE heartbeat_at > now() - interval '5 s' ORDER BY id`,
      );
      const queues = new Map(consumers.map(({ id }) => [id, openQueue(world, id)]));
      try {
        const sent: { queue: Queue; job: string }[] = [];
        for (const { of, consumerId, ticket } of await staleTickets(scene, [...queues.keys()])) {
          const queue = queues.get(consumerId);
          if (queue === undefined) continue;
          const job = await send(scene, queue, ticket);
          evidence('sent', { of, queue: queue.name, job, ...ticket });
          sent.push({ queue, job });
        }
        undoing();
        goOn();
        let left = sent;
        const areTaken = async () => {
          const found = await Promise.all(left.map(({ queue, job }) => queue.getJob(job)));
          left = left.filter((_one, at) => found[at] !== undefined);
          return left.length === 0;
        };
        await waitUntil(areTaken, { timeoutMs: takenWithinMs, everyMs: 200 });
        const taken = sent.length - left.length;
        if (taken > 0) proof('taken', { tickets: taken, left: left.length });
      } finally {
        await Promise.all([...queues.values()].map((queue) => queue.close()));
      }
    },
  },
];

interface StaleTicket {
  of: string;
  consumerId: string;
  ticket: Ticket;
}

async function staleTickets(
  { world, random }: Scene,
  consumers: readonly string[],
): Promise<StaleTicket[]> {
  const tickets: StaleTicket[] = [];
  const add = (of: string, ticket: Ticket, sentTo: string | null) => {
    const others = consumers.filter((id) => id !== sentTo);
    for (const consumerId of [sentTo ?? random.pick(consumers), random.pick(others)]) {
      tickets.push({ of, consumerId, ticket });
    }
  };
  for (const { of, condition, older } of kinds) {
    const rows = await world.query<{ uid: string; attempt: number; consumerId: string | null }>(
      `SELECT uid, attempt, consumer_id AS "consumerId" FROM tasks
        WHERE ${condition} ORDER BY seq`,
    );
    for (const { uid, attempt, consumerId } of pickSome(rows, random)) {
      add(of, { taskUid: uid, attempt: attempt - older }, consumerId);
    }
  }
  const taskUid = random.bytes(32).toString('base64url');
  add('a task that never was', { taskUid, attempt: 1 }, null);
  return tickets;
}

function pickSome<Row>(rows: readonly Row[], random: Random): Row[] {
  const left = [...rows];
  const picked: Row[] = [];
  while (picked.length < ofEach && left.length > 0) {
    picked.push(...left.splice(random.between(0, left.length - 1), 1));
  }
  return picked;
}

/** Under an id of its own, for one that is in the queue under its usual id is not added again. */
async function send({ random }: Scene, queue: Queue, ticket: Ticket): Promise<string> {
  const jobId = `${ticket.taskUid}.${ticket.attempt}.${random.bytes(4).toString('hex')}`;
  await queue.add('ticket', ticket, { jobId, removeOnComplete: true, removeOnFail: true });
  return jobId;
}

/** Beside every link. */
function openQueue({ redisUrl, queuePrefix }: World, consumerId: string): Queue {
  const queue = new Queue(queueNameOf(consumerId), {
    connection: { url: redisUrl },
    prefix: queuePrefix,
    skipMetasUpdate: true,
  });
  queue.on('error', () => undefined);
  return queue;
}
