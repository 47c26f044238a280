import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { needs } from '@inference-server/testing';
import { createFleet } from '../src/fleet.js';
import { createRoom } from '../src/room.js';
import { testDevice, testIdentity } from './test-identity.js';

const never = new AbortController().signal;
const share = { cpus: 8, memory_mib: 8_000, cpus_per_task: null, memory_per_task_mib: null };
const gpu = (memoryMib: number | null = 1_000) => ({
  slots: 4,
  device: testDevice('GPU-1', memoryMib),
  share,
});
const sharing = (gpuMemoryMib: number) =>
  needs({ use_gpu: true, gpu_memory_mib: gpuMemoryMib, memory_mib: 100 });
const alone = needs({ use_gpu: true });
let tickets = 0;
const nextTicket = () => ({ taskUid: `task-${(tickets += 1)}`, attempt: 1 });

const deaf = { accuse: () => undefined, suspect: () => undefined, look: () => undefined };

/** Whether it has come to its end after whatever can happen now. */
async function isDone(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  promise.then(
    () => (done = true),
    () => (done = true),
  );
  await turn();
  return done;
}

function openRoom(capacity: Parameters<typeof createRoom>[0]) {
  const room = createRoom(capacity);
  room.setOpen(true);
  return room;
}

describe('a room', () => {
  it('has as many places as slots, while it is open', async () => {
    const room = createRoom({ slots: 2, device: null, share });
    expect(await isDone(room.waitForPlace(never))).toBe(false);
    room.setOpen(true);
    const [first] = [room.takePlace(), room.takePlace()];
    const waiting = room.waitForPlace(never);
    expect(await isDone(waiting)).toBe(false);
    first.free();
    first.free();
    expect(await isDone(waiting)).toBe(true);
    room.takePlace();
    expect(await isDone(room.waitForPlace(never))).toBe(false);
  });

  it('ends a wait with the reason of the signal', async () => {
    const room = createRoom({ slots: 1, device: null, share });
    const controller = new AbortController();
    const waiting = room.waitForPlace(controller.signal);
    controller.abort(new Error('it stops'));
    await expect(waiting).rejects.toThrow('it stops');
  });

  it('lets runs share a device as long as their words fit its memory', async () => {
    const room = openRoom(gpu());
    const [first, second, third] = [room.takePlace(), room.takePlace(), room.takePlace()];
    await first.fill(sharing(600), never);
    await second.fill(sharing(400), never);
    const filling = third.fill(sharing(500), never);
    expect(await isDone(filling)).toBe(false);
    second.free();
    expect(await isDone(filling)).toBe(false);
    first.free();
    expect(await isDone(filling)).toBe(true);
  });

  it('gives a run that does not say what it takes the whole device, and takes nobody else', async () => {
    const room = openRoom(gpu());
    const [first, second] = [room.takePlace(), room.takePlace()];
    await first.fill(sharing(10), never);
    const filling = second.fill(alone, never);
    expect(await isDone(filling)).toBe(false);
    first.free();
    await filling;
    expect(await isDone(room.waitForPlace(never))).toBe(false);
    second.free();
    expect(await isDone(room.waitForPlace(never))).toBe(true);
  });

  it('shares no device of which nobody knows the memory', async () => {
    const room = openRoom(gpu(null));
    const [first, second] = [room.takePlace(), room.takePlace()];
    await first.fill(sharing(10), never);
    expect(await isDone(second.fill(sharing(10), never))).toBe(false);
  });

  it('counts cores and memory of the host too', async () => {
    const room = openRoom(gpu());
    const [first, second, third] = [room.takePlace(), room.takePlace(), room.takePlace()];
    await first.fill({ ...sharing(10), memory_mib: 7_900 }, never);
    expect(await isDone(second.fill({ ...sharing(10), memory_mib: 200 }, never))).toBe(false);
    expect(await isDone(third.fill({ ...sharing(10), cpus: 8 }, never))).toBe(false);
    first.free();
    await turn();
    expect(await isDone(room.waitForPlace(never))).toBe(true);
  });

  it('counts a container of which it knows nothing as the whole device', async () => {
    const room = openRoom(gpu());
    const left = room.takePlace();
    left.occupy(null);
    expect(await isDone(room.waitForPlace(never))).toBe(false);
    const filling = room.takePlace().fill(sharing(10), never);
    expect(await isDone(filling)).toBe(false);
    left.free();
    expect(await isDone(filling)).toBe(true);
  });

  it('counts it as one slot where there is no device', async () => {
    const room = openRoom({ slots: 2, device: null, share });
    room.takePlace().occupy(null);
    expect(await isDone(room.waitForPlace(never))).toBe(true);
  });
});

describe('a fleet', () => {
  const ids = ['a', 'b', 'c'];
  const open = (options: { takenWithinMs?: number } = {}) => {
    const identities = ids.map((id) =>
      testIdentity({ id, slots: 4, device: testDevice(`GPU-${id}`, 1_000), share }),
    );
    const fleet = createFleet(identities, options);
    for (const { room } of fleet.values()) room.setOpen(true);
    const of = (id: string) => fleet.get(id)!;
    const allot = (
      id: string,
      lenders: string[],
      said = { ...alone, gpu_count: 1 + lenders.length },
    ) => of(id).allot(nextTicket(), of(id).room.takePlace(), { needs: said, lenders });
    return { of, allot };
  };

  it('gives a run the devices of its lenders, its own first', () => {
    const { allot } = open();
    expect(allot('b', ['c', 'a']).gpus).toEqual(['GPU-b', 'GPU-c', 'GPU-a']);
  });

  it('keeps a device that is lent from its own runs', async () => {
    const { of, allot } = open();
    const lent = allot('b', ['a']);
    await lent.take(never);
    expect(await isDone(of('a').room.waitForPlace(never))).toBe(false);
    expect(await isDone(of('c').room.waitForPlace(never))).toBe(true);
    lent.free();
    expect(await isDone(of('a').room.waitForPlace(never))).toBe(true);
  });

  it('lets two runs that want the same devices have them one after the other', async () => {
    const { allot } = open();
    const [first, second] = [allot('a', ['b']), allot('b', ['a'])];
    const taken = [first.take(never), second.take(never)];
    expect(await Promise.all(taken.map(isDone))).toEqual([true, false]);
    first.free();
    expect(await isDone(taken[1]!)).toBe(true);
  });

  it('takes nothing with a lender that is not here, and holds what it has of what runs', async () => {
    const { of, allot } = open();
    await expect(allot('a', ['elsewhere']).take(never)).rejects.toMatchObject({ code: 'INTERNAL' });
    allot('b', ['elsewhere', 'c']).hold();
    expect(await isDone(of('c').room.waitForPlace(never))).toBe(false);
  });

  it('lets a run wait for its devices for a while only, and frees what it took of them', async () => {
    const { of, allot } = open({ takenWithinMs: 50 });
    of('b').keep();
    const waiting = allot('c', ['a', 'b']);
    expect(await waiting.take(never)).toBe(false);
    expect(await isDone(of('a').room.waitForPlace(never))).toBe(false);
    waiting.free();
    for (const id of ['a', 'c']) expect(await isDone(of(id).room.waitForPlace(never))).toBe(true);
  });

  it('knows no more of what has outlived its attempt, and has all whose devices that has look', () => {
    const { of } = open();
    const looks: string[] = [];
    for (const id of ids) of(id).onNews({ ...deaf, look: () => looks.push(id) });
    const ticket = nextTicket();
    const allotment = of('b').allot(ticket, of('b').room.takePlace(), {
      needs: alone,
      lenders: ['c'],
    });
    allotment.outlive();
    expect(of('a').isAllotted(ticket)).toBe(false);
    expect(looks).toEqual(['b', 'c']);
  });

  it('keeps a device for what is not under way here until it is given back', async () => {
    const { room, keep } = open().of('a');
    const giveBack = keep();
    expect(await isDone(room.waitForPlace(never))).toBe(false);
    giveBack();
    expect(await isDone(room.waitForPlace(never))).toBe(true);
  });

  it('knows of every member what is allotted', () => {
    const { of } = open();
    const ticket = nextTicket();
    const allotment = of('b').allot(ticket, of('b').room.takePlace(), {
      needs: alone,
      lenders: [],
    });
    expect(of('a').isAllotted(ticket)).toBe(true);
    allotment.free();
    expect(of('a').isAllotted(ticket)).toBe(false);
  });

  it('accuses those whose devices are lost, be they lent or not, and nobody else', () => {
    const { of, allot } = open();
    const heard: string[] = [];
    for (const id of ids) {
      of(id).onNews({
        ...deaf,
        accuse: (reason) => heard.push(`${id} is accused: ${reason}`),
        suspect: (reason) => heard.push(`${id} is suspected: ${reason}`),
      });
    }
    allot('a', ['c']).accuse(['GPU-c', 'GPU-b'], 'lost');
    allot('b', []).suspect(['GPU-b', 'GPU-a'], 'perhaps');
    expect(heard).toEqual(['c is accused: lost', 'b is suspected: perhaps']);
  });

  it('takes nothing that is more than there is', async () => {
    const { allot } = open();
    const more = { ...alone, gpu_memory_mib: 2_000 };
    await expect(allot('a', [], more).take(never)).rejects.toMatchObject({ code: 'INTERNAL' });
  });

  it('limits a run to its word, or to its part of what it shares', () => {
    const { allot } = open();
    const mib = 1024 ** 2;
    expect(allot('a', []).limits).toMatchObject({ cpus: 8, memoryBytes: 8_000 * mib });
    const quarter = { ...alone, gpu_memory_mib: 250 };
    expect(allot('a', [], quarter).limits).toMatchObject({ cpus: 2, memoryBytes: 2_000 * mib });
    const words = { ...quarter, cpus: 0.5, memory_mib: 70, shm_mib: 5 };
    expect(allot('a', [], words).limits).toMatchObject({
      ...{ cpus: 0.5, memoryBytes: 70 * mib, shmBytes: 5 * mib },
    });
    // Few cores would be too slow for the start of a program: up to one, as long as nobody else wants it.
    const little = { ...alone, gpu_memory_mib: 100 };
    expect(allot('a', [], little).limits).toMatchObject({ cpus: 1, cpusAtLeast: 0.8 });
    expect(allot('a', [], quarter).limits).toMatchObject({ cpus: 2, cpusAtLeast: 2 });
    expect(allot('a', [], words).limits).toMatchObject({ cpus: 0.5, cpusAtLeast: 0.5 });
    expect(allot('a', ['b']).limits).toMatchObject({ cpus: 16, memoryBytes: 16_000 * mib });
  });

  it('gives a replica that no cores are booked for the weight of what it may use', () => {
    const limitsOn = (cpus: number, more: Partial<ReturnType<typeof needs>> = {}) => {
      const identity = testIdentity({ id: 'cpu', share: { ...share, cpus } });
      const member = createFleet([identity]).get('cpu');
      const place = member?.room.takePlace('runtime');
      if (member === undefined || place === undefined) throw new Error('There is none.');
      return member.allot(nextTicket(), place, { needs: needs(more), lenders: [] }, 'runtime')
        .limits;
    };
    expect(limitsOn(8)).toMatchObject({ cpus: 1, cpusAtLeast: 1 });
    expect(limitsOn(0.5)).toMatchObject({ cpus: 0.5, cpusAtLeast: 0.5 });
    expect(limitsOn(8, { cpus: 2 })).toMatchObject({ cpus: 2, cpusAtLeast: 2 });
  });
});
