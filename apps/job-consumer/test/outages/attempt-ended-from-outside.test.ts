import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openAttemptScene, type AttemptScene } from '../attempt-scene.js';
import { scriptZip } from '../zips.js';

let scene: AttemptScene;
beforeAll(async () => {
  scene = await openAttemptScene();
});
afterAll(() => scene.close());

describe('an attempt that is ended from outside', () => {
  it('is given back when a consumer stops that hands nothing over', async () => {
    const task = scene.taskOf(
      scriptZip('trap "echo stopping; exit 0" TERM; echo up; while true; do sleep 0.1; done'),
      {},
    );
    const running = await scene.bench.start(task, { handsOver: false });
    await expect.poll(() => scene.logOf(task), { timeout: 10_000 }).toBe('up\n');
    running.leave();
    expect(await running.cleaned).toBe(true);
    const released = { kind: 'released', exit_code: null, log: 'up\nstopping\n' };
    expect(task.settlements).toMatchObject([released]);
    expect(await scene.traces()).toEqual([]);
  });

  it('is parked when the consumer stops, its container left as it is', async () => {
    const task = scene.taskOf(scriptZip('echo up; sleep 100'), {});
    const running = await scene.bench.start(task);
    await expect.poll(() => scene.logOf(task), { timeout: 10_000 }).toBe('up\n');
    running.leave();
    expect(await running.cleaned).toBe(true);
    expect(task).toMatchObject({ parked: true, settlements: [] });
    const [left] = await scene.containersOf(task);
    expect(left).toMatchObject({ state: 'running' });
    await scene.removeAll(task);
  });

  it('is given back when the consumer stops before a second try to start it', async () => {
    const { deps, engine } = scene.bench;
    const task = scene.taskOf(scriptZip('sleep 100'), {});
    let leave: () => void = () => undefined;
    deps.engine = {
      ...engine,
      startContainer: async (container, signal) => {
        const found = await engine.inspectContainer(container, signal);
        if (found?.name !== scene.containerOf(task))
          return engine.startContainer(container, signal);
        leave();
        return { started: false, startError: 'not now' };
      },
    };
    const running = await scene.bench.start(task);
    leave = running.leave;
    expect(await running.cleaned).toBe(true);
    deps.engine = engine;
    expect(task).toMatchObject({ parked: false, settlements: [{ kind: 'released' }] });
    expect(await scene.traces()).toEqual([]);
  });

  it('says that something may be left when it ends in a way that was not foreseen', async () => {
    const { deps } = scene.bench;
    const { engineWatch } = deps;
    deps.engineWatch = {
      suspect: () => {
        throw new Error('never foreseen');
      },
    };
    const task = scene.taskOf(scriptZip('true'), {});
    task.input = Buffer.from('no zip');
    const running = await scene.bench.start(task);
    expect(await running.cleaned).toBe(false);
    deps.engineWatch = engineWatch;
    expect(task.settlements).toEqual([]);
    await scene.removeAll(task);
  });

  it('is parked when private-api was away for a while, and renewed no more after that', async () => {
    const task = scene.taskOf(scriptZip('sleep 100'), {});
    task.parkAnswerMs = 1_500;
    const running = await scene.bench.start(task);
    await scene.untilRunning(task);
    scene.api.away = true;
    running.leave();
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    scene.api.away = false;
    expect(await running.cleaned).toBe(true);
    expect(task).toMatchObject({ parked: true, renewalsWhenParked: 0 });
    await scene.removeAll(task);
  });

  it.each(['watched', 'adopted'])(
    'has its time limit also after a restart from outside: %s',
    async (how) => {
      const task = scene.taskOf(scriptZip('sleep 100'), { timeoutS: 6 });
      let running = await scene.bench.start(task);
      await scene.untilRunning(task);
      if (how === 'adopted') {
        running.leave();
        await running.cleaned;
      }
      await scene.own.api.call('POST', `/containers/${scene.containerOf(task)}/restart?t=0`);
      if (how === 'adopted') running = await scene.bench.adopt(task);
      // Whoever looks in the moment between its end and its start sees that.
      const ends = [{ reason: 'timed_out' }, { cause: 'interrupted' }].map(
        (end) => expect.objectContaining(end) as unknown,
      );
      await expect.poll(() => task.settlements, { timeout: 25_000 }).toHaveLength(1);
      expect(ends).toContainEqual(task.settlements[0]);
      await running.cleaned;
      expect(await scene.traces()).toEqual([]);
    },
    40_000,
  );

  it('touches nothing when it was adopted', async () => {
    const task = scene.taskOf(scriptZip('sleep 100'), {});
    const running = await scene.bench.start(task);
    await scene.untilRunning(task);
    task.epoch += 1;
    expect(await running.cleaned).toBe(true);
    expect(task).toMatchObject({ parked: false, settlements: [] });
    expect(await scene.containersOf(task)).toMatchObject([{ state: 'running' }]);
    await scene.removeAll(task);
  });

  it('is stopped and removed when the task is cancelled, and then says so', async () => {
    const task = scene.taskOf(
      scriptZip('trap "exit 0" TERM; echo up; while true; do sleep 0.1; done'),
      {},
    );
    const running = await scene.bench.start(task);
    await expect.poll(() => scene.logOf(task), { timeout: 10_000 }).toBe('up\n');
    const gone = task.settled.then(() => scene.containersOf(task));
    task.cancelRequested = true;
    expect(await task.settled).toMatchObject({ kind: 'cancelled' });
    expect(await gone).toEqual([]);
    await running.cleaned;
    expect(await scene.traces()).toEqual([]);
  });

  it('is cancelled too when the cancel comes between the output and the settlement', async () => {
    const task = scene.taskOf(scriptZip('echo done > /output/a'), {});
    // As if the news had not come through: only the settlement is refused.
    Object.defineProperty(task, 'cancelRequested', { get: () => task.outputs.length > 0 });
    const running = await scene.bench.start(task);
    await running.cleaned;
    expect(task.settlements).toMatchObject([{ kind: 'cancelled' }]);
    expect(await scene.traces()).toEqual([]);
  });

  it('removes its container when superseded, and settles nothing', async () => {
    const task = scene.taskOf(scriptZip('sleep 100'), {});
    const running = await scene.bench.start(task);
    await scene.untilRunning(task);
    task.isSuperseded = true;
    // Until then it has what it was given.
    expect(await running.atRest).toBe(true);
    expect(await scene.traces()).toEqual([]);
    expect(await running.cleaned).toBe(true);
    expect(task.settlements).toEqual([]);
  });

  it('is not stopped by its clock before its lease is confirmed', async () => {
    const task = scene.taskOf(scriptZip('sleep 100'), { timeoutS: 17 });
    const running = await scene.bench.start(task);
    await scene.untilRunning(task);
    // As for a process that was frozen: its lease was renewed last when the clock is due.
    scene.api.away = true;
    await new Promise((resolve) => setTimeout(resolve, 19_000));
    task.epoch += 1;
    scene.api.away = false;
    expect(await running.cleaned).toBe(true);
    expect(task.settlements).toEqual([]);
    expect(await scene.containersOf(task)).toMatchObject([{ state: 'running' }]);
    await scene.removeAll(task);
  }, 60_000);

  it('is a fault when a signal ended it while nobody watched', async () => {
    // Itself, so that the engine has nothing to tell: it forgets what it did when it is stopped.
    const task = scene.taskOf(scriptZip('sleep 1; kill -9 $$'), {});
    const first = await scene.bench.start(task);
    await scene.untilRunning(task);
    first.leave();
    await first.cleaned;
    const state = async () => (await scene.containersOf(task))[0]?.state;
    await expect.poll(state, { timeout: 10_000 }).toBe('exited');
    const next = await scene.bench.adopt(task);
    expect(await task.settled).toMatchObject({
      kind: 'fault',
      cause: 'interrupted',
      exit_code: 137,
    });
    await next.cleaned;
    const watched = scene.taskOf(scriptZip('sleep 1; kill -9 $$'), {});
    await (
      await scene.bench.start(watched)
    ).cleaned;
    expect(await watched.settled).toMatchObject({ kind: 'failed', exit_code: 137 });
    expect(await scene.traces()).toEqual([]);
  });

  it('has the time that is left by the clock of its engine, which may be another', async () => {
    const { deps, engine } = scene.bench;
    const anHourAgo = (time: Date) => new Date(time.getTime() - 3_600_000);
    const task = scene.taskOf(scriptZip('sleep 2; echo fine > /output/a'), { timeoutS: 60 });
    const first = await scene.bench.start(task);
    await scene.untilRunning(task);
    first.leave();
    await first.cleaned;
    deps.engine = {
      ...engine,
      readClock: async (signal) => anHourAgo(await engine.readClock(signal)),
      inspectContainer: async (container, signal) => {
        const found = await engine.inspectContainer(container, signal);
        return found?.startedAt && { ...found, startedAt: anHourAgo(found.startedAt) };
      },
    };
    const next = await scene.bench.adopt(task);
    expect(await task.settled).toMatchObject({ kind: 'finished' });
    await next.cleaned;
    deps.engine = engine;
    expect(await scene.traces()).toEqual([]);
  });

  it('is out of time when its time was over before it was adopted', async () => {
    const task = scene.taskOf(scriptZip('sleep 100'), { timeoutS: 60 });
    const first = await scene.bench.start(task);
    await scene.untilRunning(task);
    first.leave();
    await first.cleaned;
    const next = await scene.bench.adopt(task, 61_000);
    await expect
      .poll(() => task.settlements, { timeout: 10_000 })
      .toMatchObject([{ kind: 'failed', reason: 'timed_out' }]);
    await next.cleaned;
    expect(await scene.traces()).toEqual([]);
  });

  it.each([
    ['in time', 'sleep 1; echo fine > /output/a', { kind: 'finished', exit_code: 0 }],
    [
      'by itself, in time',
      'sleep 1; exit 3',
      { kind: 'failed', reason: 'exit_code', exit_code: 3 },
    ],
    ['too late', 'sleep 3', { kind: 'failed', reason: 'timed_out', exit_code: 0 }],
  ])('is judged by how long it ran when it had ended %s', async (_when, script, expected) => {
    const task = scene.taskOf(scriptZip(script), { timeoutS: 2 });
    const first = await scene.bench.start(task);
    await scene.untilRunning(task);
    first.leave();
    await first.cleaned;
    const state = async () => (await scene.containersOf(task))[0]?.state;
    await expect.poll(state, { timeout: 10_000 }).toBe('exited');
    // Its limit is over by now in any case.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const next = await scene.bench.adopt(task);
    expect(await task.settled).toMatchObject(expected);
    await next.cleaned;
    expect(await scene.traces()).toEqual([]);
  });

  it('renews its lease while it runs, also after an outage of private-api', async () => {
    const task = scene.taskOf(scriptZip('sleep 3'), {});
    const running = await scene.bench.start(task);
    await expect.poll(() => task.renewals).toBeGreaterThan(0);
    await scene.untilRunning(task);
    scene.api.away = true;
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const before = task.renewals;
    scene.api.away = false;
    await expect.poll(() => task.renewals, { timeout: 5_000 }).toBeGreaterThan(before);
    expect(await task.settled).toMatchObject({ kind: 'finished' });
    await running.cleaned;
  });

  it('settles again until it is answered', async () => {
    const task = scene.taskOf(scriptZip('exit 9'), {});
    const running = await scene.bench.start(task);
    await scene.untilRunning(task);
    scene.api.away = true;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    scene.api.away = false;
    expect(await task.settled).toMatchObject({ kind: 'failed', exit_code: 9 });
    await running.cleaned;
  });
});
