import { describe, expect, it } from 'vitest';
import { EngineError, type CommandEnd } from '@inference-server/container-engine';
import type { DeviceTrouble } from '../src/devices/gpu-source.js';
import { createDeviceWatch, looksInside, untilDeviceGone } from '../src/run/device-watch.js';

const never = new AbortController().signal;

/** What the engine answers, one look after the other; the last again and again. */
function watchOf(answers: readonly (CommandEnd | Error | undefined)[]) {
  const commands: (readonly string[])[] = [];
  const engine = {
    runCommand: (_container: string, command: readonly string[]) => {
      const answer = answers[Math.min(commands.push(command), answers.length) - 1];
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
  };
  const ending = new AbortController();
  const watch = createDeviceWatch(engine, 20);
  watch.watch('container', ending.signal);
  const looks = () => commands.length;
  const atLeast = (count: number) => expect.poll(looks, { timeout: 10_000 }).toBeGreaterThan(count);
  return { watch, commands, looks, atLeast, end: () => ending.abort() };
}

const fine = { exitCode: 0, output: 'GPU 0: NVIDIA L4 (UUID: GPU-1)\n' };
const lost = { exitCode: 255, output: 'Failed to initialize NVML: Unknown Error\n' };

it.each([
  lost,
  { exitCode: 9, output: 'x\nUnable to determine the device handle for GPU0: Unknown Error\ny' },
  { exitCode: 15, output: 'GPU is lost.  Reboot the system to recover this GPU' },
  { exitCode: 6, output: 'No devices were found' },
])('tells what nvidia-smi says that has lost its devices: $output', async (end) => {
  const { watch, commands, atLeast, end: stop } = watchOf([fine, end]);
  await atLeast(2);
  expect(watch.trouble).toMatch(/Unknown Error$|GPU is lost|No devices were found/);
  expect(watch.trouble).not.toContain('\n');
  expect(commands[0]).toEqual(['nvidia-smi', '-L']);
  stop();
});

it('forgets it when they are back', async () => {
  const { watch, atLeast, end } = watchOf([lost, fine]);
  await atLeast(2);
  expect(watch.trouble).toBeUndefined();
  end();
});

it.each([
  ['fails in another way', { exitCode: 1, output: 'out of memory' }],
  ['says it, and succeeds', { exitCode: 0, output: lost.output }],
  ['cannot be asked', new EngineError('unreachable', 'it is away')],
])('tells nothing where it %s, and looks again', async (_how, answer) => {
  const { watch, atLeast, end } = watchOf([answer]);
  await atLeast(3);
  expect(watch.trouble).toBeUndefined();
  end();
});

it.each([
  ['is not there', { exitCode: 127, output: 'GPU is lost' }, 3],
  ['may not be run', { exitCode: 126, output: 'GPU is lost' }, 3],
  ['does not end', new EngineError('overdue', 'too slow'), 3],
  ['is in a container that has ended', undefined, 1],
])('looks no more where it %s, by three looks, or one', async (_how, answer, most) => {
  const { watch, looks, atLeast, end } = watchOf([answer]);
  await atLeast(most - 1);
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(looks()).toBe(most);
  expect(watch.trouble).toBeUndefined();
  end();
});

it('looks on where that happens now and then', async () => {
  const slow = new EngineError('overdue', 'too slow');
  const { atLeast, end } = watchOf([slow, slow, fine, slow, slow, fine, lost]);
  await atLeast(8);
  end();
});

describe('a run whose devices the driver does not know any more', () => {
  const gone = { devices: ['GPU-1'], reason: 'nvidia-smi knows no GPU-1 any more.', areGone: true };
  const needy = { devices: ['GPU-1'], reason: 'GPU-1 needs: Reset.', areGone: false };

  /** What the driver tells, one look after the other; the last again and again. */
  function untilGone(answers: readonly (DeviceTrouble | undefined)[], signal: AbortSignal) {
    let looks = 0;
    const periodicTroubleWith = () =>
      Promise.resolve(answers[Math.min((looks += 1), answers.length) - 1]);
    const how = { gpus: ['GPU-1'], everyMs: 10 };
    return { ended: untilDeviceGone({ periodicTroubleWith }, how, signal), looks: () => looks };
  }

  it('is known after two looks in a row', async () => {
    const { ended, looks } = untilGone([undefined, gone, undefined, needy, gone], never);
    expect(await ended).toBe(gone);
    expect(looks()).toBe(6);
  });

  it('is not one whose device needs something', async () => {
    const ending = new AbortController();
    const { ended, looks } = untilGone([needy], ending.signal);
    await expect.poll(looks, { timeout: 10_000 }).toBeGreaterThan(4);
    ending.abort();
    await expect(ended).rejects.toMatchObject({ name: 'AbortError' });
  });
});

it.each([
  ['auto', 'systemd', true],
  ['auto', 'cgroupfs', false],
  ['auto', '', false],
  ['always', 'cgroupfs', true],
  ['never', 'systemd', false],
] as const)(
  'looks into containers by %s of an engine with the driver "%s": %s',
  (setting, driver, is) => {
    expect(looksInside(setting, { cgroupDriver: driver })).toBe(is);
  },
);

it('ends with its signal', async () => {
  const { looks, atLeast, end } = watchOf([fine]);
  await atLeast(1);
  end();
  const before = looks();
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(looks()).toBe(before);
});
