import type { World } from '../world/world.js';

/**
 * What BullMQ keeps of a queue by design, whatever is in it: its settings, the counter of its jobs, the last
 * things that happened (bounded), the mark for who waits for a job, the pause between two looks for stalled
 * ones. Every other key is a job, or a list of some.
 */
const ofTheQueue = ['meta', 'id', 'events', 'marker', 'stalled-check'];

/** The keys of tickets that are still there. */
export async function leftTickets({
  redis,
  queuePrefix,
}: {
  redis: Pick<World['redis'], 'ask'>;
  queuePrefix: string;
}): Promise<string[]> {
  const script = `return table.concat(redis.call('keys', ARGV[1]), ' ')`;
  const answer = await redis.ask(`EVAL "${script}" 0 ${queuePrefix}:*`);
  const keys = answer.split(' ').filter((key) => key !== '');
  return keys.filter((key) => !ofTheQueue.includes(key.split(':').at(-1) ?? ''));
}
