import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePort, ownRedis, testFolder, testRedis, waitUntil } from '@inference-server/testing';
import {
  createTicketReceiver,
  createTicketSender,
  queueNameOf,
  type Ticket,
} from '../src/index.js';

const logger = pino({ level: 'silent' });
let queue: { redisUrl: string; prefix: string };
const opened: { close(): Promise<void> }[] = [];

beforeEach(async () => {
  const redis = await testRedis();
  queue = { redisUrl: redis.url, prefix: redis.prefix };
});
afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each.close();
});

function send(timeoutMs?: number) {
  const sender = createTicketSender({
    ...queue,
    logger,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  opened.push(sender);
  return sender;
}

/** A receiver whose room the test opens and closes. */
function receive(consumerId: string, onTicket?: (ticket: Ticket) => Promise<void>) {
  const taken: Ticket[] = [];
  let room = Number.POSITIVE_INFINITY;
  let opens: (() => void) | undefined;
  const receiver = createTicketReceiver({
    ...queue,
    consumerId,
    logger,
    waitForRoom: async (signal) => {
      if (room <= 0) {
        await new Promise<void>((resolve) => {
          opens = resolve;
          signal.addEventListener('abort', () => resolve(), { once: true });
        });
      }
      signal.throwIfAborted();
    },
    onTicket: async (ticket) => {
      room -= 1;
      taken.push(ticket);
      await onTicket?.(ticket);
    },
  });
  opened.push(receiver);
  return {
    taken,
    receiver,
    setRoom(slots: number) {
      room = slots;
      opens?.();
    },
  };
}

const ticket = (n: number): Ticket => ({ taskUid: `${'a'.repeat(42)}${n}`, attempt: 1 });
const until = (check: () => boolean | Promise<boolean>) => waitUntil(check, { timeoutMs: 10_000 });
const sent = async (sender: ReturnType<typeof send>, consumerId: string, tickets: Ticket[]) =>
  until(() =>
    sender.send(consumerId, tickets).then(
      () => true,
      () => false,
    ),
  );

describe('tickets', () => {
  it('reach the consumer that they are for, in order', async () => {
    const sender = send();
    const [one, two] = [receive('one'), receive('two')];
    expect(await sent(sender, 'one', [ticket(1), ticket(2)])).toBe(true);
    expect(await until(() => one.taken.length === 2)).toBe(true);
    expect(one.taken).toEqual([ticket(1), ticket(2)]);
    expect(two.taken).toEqual([]);
  });

  it('are not added twice while they wait, and can be sent again once taken', async () => {
    const sender = send();
    const consumer = receive('c', undefined);
    consumer.setRoom(0);
    for (let i = 0; i < 3; i += 1) await sent(sender, 'c', [ticket(1)]);
    consumer.setRoom(10);
    await until(() => consumer.taken.length > 0);
    await sent(sender, 'c', [ticket(2)]);
    await until(() => consumer.taken.length > 1);
    expect(consumer.taken).toEqual([ticket(1), ticket(2)]);
    await sent(sender, 'c', [ticket(1)]);
    expect(await until(() => consumer.taken.length === 3)).toBe(true);
  });

  it('are taken only while there is room', async () => {
    const sender = send();
    const consumer = receive('c');
    consumer.setRoom(1);
    await sent(sender, 'c', [ticket(1), ticket(2), ticket(3)]);
    await until(() => consumer.taken.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(consumer.taken).toHaveLength(1);
    consumer.setRoom(2);
    expect(await until(() => consumer.taken.length === 3)).toBe(true);
  });

  it('leave Redis also when the claim fails', async () => {
    const sender = send();
    const consumer = receive('c', () => Promise.reject(new Error('private-api is away')));
    await sent(sender, 'c', [ticket(1)]);
    await until(() => consumer.taken.length === 1);
    await sent(sender, 'c', [ticket(1)]);
    expect(await until(() => consumer.taken.length === 2)).toBe(true);
  });
});

describe('a consumer that is forgotten', () => {
  it('leaves nothing in Redis, neither what waits nor what was taken, and may come back', async () => {
    const sender = send();
    const other = receive('other');
    other.setRoom(0);
    await sent(sender, 'other', [ticket(8)]);
    let isAnswered = false;
    const gone = receive('gone', () => waitUntil(() => isAnswered, { timeoutMs: 10_000 }).then());
    gone.setRoom(1);
    await sent(sender, 'gone', [ticket(1), ticket(2)]);
    expect(await until(() => gone.taken.length === 1)).toBe(true);
    expect(await keysOf('gone')).not.toEqual([]);

    await sender.forget('gone');
    expect(await keysOf('gone')).toEqual([]);
    expect(await keysOf('other')).not.toEqual([]);
    await sender.forget('gone');
    isAnswered = true;
    await gone.receiver.close();

    const back = receive('gone');
    await sent(sender, 'gone', [ticket(3)]);
    expect(await until(() => back.taken.length === 1)).toBe(true);
    expect(back.taken).toEqual([ticket(3)]);
    other.setRoom(1);
    expect(await until(() => other.taken.length === 1)).toBe(true);
  });
});

/** But for the mark of the pause between two looks for stalled jobs, which its receiver sets. */
async function keysOf(consumerId: string): Promise<string[]> {
  const redis = new Redis(queue.redisUrl);
  try {
    const keys = await redis.keys(`${queue.prefix}:${queueNameOf(consumerId)}:*`);
    return keys.filter((key) => !key.endsWith(':stalled-check'));
  } finally {
    redis.disconnect();
  }
}

describe('a receiver that closes', () => {
  it('answers the ticket in hand and ends at once although it waits for the next', async () => {
    let answered = false;
    const consumer = receive('c', async () => {
      await new Promise((resolve) => setTimeout(resolve, 200));
      answered = true;
    });
    const sender = send();
    await sent(sender, 'c', [ticket(1)]);
    await until(() => consumer.taken.length === 1);
    const begun = performance.now();
    await consumer.receiver.close();
    expect(answered).toBe(true);
    expect(performance.now() - begun).toBeLessThan(3_000);
  });
});

describe('without Redis', () => {
  it('sending is refused in time, and both ends come back with it', async () => {
    const place = { dataDir: await testFolder(), port: await freePort() };
    const first = await ownRedis(place);
    queue.redisUrl = first.url;
    const sender = send(500);
    const consumer = receive('c');
    expect(await sent(sender, 'c', [ticket(1)])).toBe(true);
    await until(() => consumer.taken.length === 1);
    await first.stop();
    await expect(sender.send('c', [ticket(2)])).rejects.toMatchObject({ status: 503 });
    await expect(sender.check()).rejects.toMatchObject({ status: 503 });
    await ownRedis(place);
    expect(await sent(sender, 'c', [ticket(3)])).toBe(true);
    expect(
      await until(() => consumer.taken.some(({ taskUid }) => taskUid === ticket(3).taskUid)),
    ).toBe(true);
  });

  const closesSoon = async ({ receiver }: ReturnType<typeof receive>) => {
    const begun = performance.now();
    await receiver.close();
    expect(performance.now() - begun).toBeLessThan(5_000);
  };

  it('a receiver closes all the same, whether it had one before or not', async () => {
    const own = await ownRedis();
    queue.redisUrl = own.url;
    const waits = receive('waits');
    const sender = send();
    expect(await sent(sender, 'waits', [ticket(1)])).toBe(true);
    await until(() => waits.taken.length === 1);
    await own.stop();
    await until(() =>
      sender.check().then(
        () => false,
        () => true,
      ),
    );
    await closesSoon(waits);
    await closesSoon(receive('never'));
  });

  it('a receiver closes although the ticket in hand cannot be answered', async () => {
    const own = await ownRedis();
    queue.redisUrl = own.url;
    let go: () => void = () => undefined;
    const claimed = new Promise<void>((resolve) => (go = resolve));
    const consumer = receive('c', () => claimed);
    expect(await sent(send(), 'c', [ticket(1)])).toBe(true);
    await until(() => consumer.taken.length === 1);
    await own.stop();
    go();
    await closesSoon(consumer);
  });
});
