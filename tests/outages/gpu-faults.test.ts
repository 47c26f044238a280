import { beforeAll, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import { untilReleased } from '../script-tasks.js';
import {
  consumerOf,
  divided,
  gpu,
  openGpuLab,
  seen,
  type GpuLab,
  type ModelName,
} from './gpu-lab.js';

/** What a device does, or does not, is nobody's failure but its own. */

let lab: GpuLab;
beforeAll(async () => {
  lab = await openGpuLab();
}, 120_000);

it('quarantines a device that no container gets, with the reason: the task runs elsewhere, and a probe brings it back', async () => {
  const [first, second] = [gpu(1).uuid, gpu(2).uuid];
  await lab.gpus.break(first, 'nvidia-container-cli: device error: unknown device');
  await lab.gpus.break(second, 'nvidia-container-cli: device error: unknown device');
  const uid = await lab.post('large', seen());
  await lab.untilState(first, 'quarantined', 'unknown device');
  await lab.untilState(second, 'quarantined', 'unknown device');
  await lab.gpus.mend(second);
  expect(await lab.devicesSeenBy(uid)).toEqual([second]);
  const attempts = await lab.tasks.attemptsOf(uid);
  expect(attempts.slice(0, -1)).toEqual(
    attempts
      .slice(0, -1)
      .map(({ number }) => ({ number, outcome: 'fault', reason: 'device_lost' })),
  );
  await lab.gpus.mend(first);
  await lab.untilState(first, 'ready');
}, 120_000);

it.each([
  ['is lost, whose run hangs', 'lose', true],
  ['falls off its bus, whose run fails', 'fallOff', false],
] as const)(
  'makes no failure of the model of a device that %s',
  async (_how, lose, hangs) => {
    const [lost, other] = [gpu(1).uuid, gpu(2).uuid];
    const script = untilReleased(`[ "$NVIDIA_VISIBLE_DEVICES" = ${lost} ] && exit 3; ${seen()}`);
    const uids = [await lab.post('large', script), await lab.post('large', script)];
    for (const uid of uids) await lab.tasks.untilItRuns(uid);
    const [onLost, onOther] = (await lab.deviceOf(uids[0]!)) === lost ? uids : uids.toReversed();
    await lab.gpus[lose](lost);
    if (!hangs) await lab.tasks.release(onLost!);
    await lab.untilState(lost, 'quarantined', 'nvidia-smi knows no');
    await lab.tasks.release(onOther!);
    expect(await lab.devicesSeenBy(onOther!)).toEqual([other]);
    await lab.untilAttempt(onLost!, 2);
    await lab.tasks.release(onLost!);
    expect(await lab.devicesSeenBy(onLost!)).toEqual([other]);
    expect(await lab.tasks.attemptsOf(onLost!)).toEqual([
      { number: 1, outcome: 'fault', reason: 'device_lost' },
      { number: 2, outcome: 'finished', reason: null },
    ]);
    await lab.gpus.mend(lost);
    await lab.untilState(lost, 'ready');
  },
  120_000,
);

it('makes none of a container that loses its device alone, and looks at the device at once', async () => {
  const standIn = '/run/gpu-stand-in';
  const uid = await lab.post(
    'large',
    [
      // The second container loses nothing.
      'until [ -e /tmp/released ]; do sleep 0.1; done',
      `[ -e /tmp/loses ] || { ${seen()}; exit; }`,
      `: > ${standIn}/asked`,
      `echo "Failed to initialize NVML: Unknown Error" > ${standIn}/failure`,
      // What the first question came to is known when the second one is asked.
      `until [ "$(wc -l < ${standIn}/asked)" -ge 2 ]; do sleep 0.1; done; exit 3`,
    ].join('\n'),
  );
  await lab.tasks.untilItRuns(uid);
  const first = await lab.deviceOf(uid);
  await lab.touch(uid, '/tmp/loses');
  await lab.tasks.release(uid);
  // The probe passes before anybody could have asked.
  const wasSuspected = async () =>
    (await lab.log())
      .split('\n')
      .some((line) => line.includes('in quarantine') && line.includes('NVML: Unknown Error'));
  expect(await waitUntil(wasSuspected, { timeoutMs: 30_000 })).toBe(true);
  await lab.untilState(first, 'ready');
  await lab.untilAttempt(uid, 2);
  await lab.tasks.release(uid);
  const [second] = await lab.devicesSeenBy(uid);
  expect(second).not.toBe(first);
  expect(await lab.tasks.attemptsOf(uid)).toEqual([
    { number: 1, outcome: 'fault', reason: 'device_lost' },
    { number: 2, outcome: 'finished', reason: null },
  ]);
}, 120_000);

it('gives nothing to a device of which the driver says that it requires a reset, in place of all else', async () => {
  const [sick, well] = [gpu(1).uuid, gpu(2).uuid];
  await lab.stop();
  await lab.gpus.tell(sick, { instead: '[GPU requires reset]' });
  await lab.start({}, async () => {
    const states = (await lab.consumers()).map(({ state }) => state);
    return states.filter((state) => state === 'ready').length === 4;
  });
  await lab.untilState(sick, 'quarantined', `${sick} needs: Reset`);
  const uids = [await lab.post('large', seen()), await lab.post('large', seen())];
  for (const uid of uids) expect(await lab.devicesSeenBy(uid)).toEqual([well]);
  expect(await Promise.all(uids.map((uid) => lab.tasks.attemptsOf(uid)))).toEqual(
    uids.map(() => [{ number: 1, outcome: 'finished', reason: null }]),
  );
  await lab.untilState(sick, 'quarantined', `${sick} needs: Reset`);
  await lab.gpus.tell(sick, { instead: undefined });
  await lab.untilState(sick, 'ready');
}, 120_000);

it('leaves devices to what runs on them, whichever of their consumers come back', async () => {
  const pair = await lab.post('pair', untilReleased(seen()));
  await lab.tasks.untilItRuns(pair);
  await lab.stop();
  const [row] = await lab.server.database.query<{ lenders: string[] }>(
    'SELECT lenders FROM tasks WHERE uid = $1',
    [pair],
  );
  const lender = Object.entries(consumerOf).find(([, id]) => id === row?.lenders[0])![0];
  await lab.start({ GPUS: lender, CPU_SLOTS: '0' }, async () => {
    const found = (await lab.consumers()).find(({ id }) => id === consumerOf[lender]);
    return found?.reason?.includes('nobody is in charge of') === true;
  });
  const waiting = await lab.post('alone', seen());
  await lab.stop();
  await lab.start();
  await lab.tasks.release(pair);
  expect((await lab.devicesSeenBy(pair)).sort()).toEqual([gpu(1).uuid, gpu(2).uuid]);
  expect(await lab.tasks.attemptsOf(pair)).toHaveLength(1);
  await lab.devicesSeenBy(waiting);
  await lab.expectNothingOvercommitted(
    new Map<string, ModelName>([
      [pair, 'pair'],
      [waiting, 'alone'],
    ]),
  );
}, 120_000);

it('lets no other process have a device, nor the GPU of slices, until the one that has it is gone', async () => {
  const rival = await lab.startRival({
    GPUS: `${gpu(1).uuid},${divided.uuid}`,
    CPU_SLOTS: '0',
  });
  const refusals = async () =>
    (await rival.log())
      .split('\n')
      .filter((line) => line.includes('not registered yet'))
      .map((line) => /the consumer (\S+) until/.exec(line)?.[1]);
  await expect.poll(async () => (await refusals()).length, { timeout: 20_000 }).toBe(2);
  const pair = await lab.post('pair', seen());
  expect((await lab.devicesSeenBy(pair)).sort()).toEqual([gpu(1).uuid, gpu(2).uuid]);
  // Asked for again and again meanwhile, told of once for each.
  expect(new Set(await refusals())).toEqual(
    new Set([consumerOf[gpu(1).uuid], consumerOf[divided.largeSlice.uuid]]),
  );
  expect(await refusals()).toHaveLength(2);
  await lab.stop();
  const rivals = async () =>
    (await lab.consumers())
      .filter(({ id }) => id.startsWith('rival'))
      .map(({ device, state }) => [device?.uuid, state]);
  await expect.poll(rivals, { timeout: 30_000 }).toEqual([
    [gpu(1).uuid, 'ready'],
    // A GPU that is divided cannot be had as a whole.
    [divided.uuid, 'quarantined'],
  ]);
  await rival.stop();
}, 120_000);

it('ends a process that waits for a device when another process has become one of its consumers', async () => {
  await lab.stop();
  await lab.start({ GPUS: gpu(1).uuid, CPU_SLOTS: '0' }, async () =>
    (await lab.consumers()).some(
      ({ id, state }) => id === consumerOf[gpu(1).uuid] && state === 'ready',
    ),
  );
  const rival = await lab.startRival({ GPUS: gpu(1).uuid, CPU_SLOTS: '1' });
  await expect.poll(() => rival.log(), { timeout: 20_000 }).toContain('not registered yet');
  await expect.poll(() => rival.log(), { timeout: 20_000 }).toContain('ready for tickets');
  await lab.server.database.query(`UPDATE consumers SET holder = 'other' WHERE id = 'rival-cpu'`);
  expect(await rival.ended).toMatchObject({ code: 1 });
  expect(await rival.log()).toContain('Another process is the consumer rival-cpu already.');
  // An end with an error was meant.
  await rival.kill();
}, 120_000);
