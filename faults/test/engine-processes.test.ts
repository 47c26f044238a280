import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { testFolder, waitUntil } from '@inference-server/testing';
import { areOfKills, processesOf } from '../src/checks/engine-processes.js';

describe('the processes of an engine', () => {
  const started: { child: ChildProcess; pid: number }[] = [];

  afterEach(async () => {
    for (const { child, pid } of started.splice(0)) {
      const ended = once(child, 'exit');
      process.kill(-pid, 'SIGKILL');
      await ended;
    }
  });

  it('has nothing to say of one containerd, and of what belongs to others', async () => {
    const folder = await testFolder();
    await start(folder, 'containerd');
    expect(await processesOf({ name: 'engine', folder: `${folder}-other` })).toEqual(nothing);
    expect(await processesOf({ name: 'engine', folder })).toEqual(nothing);
  });

  it('finds a second containerd, what runs in a shim, and a runc', async () => {
    const folder = await testFolder();
    await start(folder, 'containerd');
    await start(folder, 'containerd');
    const shim = await start(folder, 'containerd-shim-runc-v2', 'sleep 600 & wait');
    await start(folder, 'runc');
    await waitUntil(
      async () => (await processesOf({ name: 'engine', folder })).emptyShims.length === 0,
      { timeoutMs: 5_000 },
    );
    const { left, emptyShims } = await processesOf({ name: 'engine', folder });
    expect(emptyShims).toEqual([]);
    expect(left.map((what) => what.split(' ')[1]).sort()).toEqual([
      'containerd',
      'containerd-shim-runc-v2',
      'runc',
    ]);
    expect(left).toContain(`engine: containerd-shim-runc-v2 ${shim} (process), with sleep 600`);
  });

  it('tells of shims in which nothing runs', async () => {
    const folder = await testFolder();
    const shim = await start(folder, 'containerd-shim-runc-v2');
    expect(await processesOf({ name: 'engine', folder })).toEqual({
      left: [],
      emptyShims: [`engine: containerd-shim-runc-v2 ${shim} (process)`],
    });
  });

  /** A shell of that name, with an argument below the folder. It waits, and has no child of its own. */
  async function start(folder: string, name: string, script = 'read _'): Promise<number> {
    const child = spawn('/bin/sh', ['-c', script, name, join(folder, 'x')], {
      argv0: name,
      stdio: ['pipe', 'ignore', 'ignore'],
      // A group of its own, to be ended with whatever it has started.
      detached: true,
    });
    await once(child, 'spawn');
    const { pid } = child;
    if (pid === undefined) throw new Error('a process that was started has no id');
    started.push({ child, pid });
    return pid;
  }
});

describe('empty shims', () => {
  const kill = { fault: 'the engine with live-restore gets SIGKILL', phase: 'run', hit: true };
  const end = { ...kill, fault: 'the engine with live-restore gets SIGTERM' };

  it.each([
    [[], [end], true],
    [['one'], [kill, end], true],
    [['one'], [end], false],
    [['one'], [{ ...kill, phase: 'settle' }], false],
    [['one'], [{ ...kill, hit: undefined }], false],
    [['one', 'two'], [kill, end], false],
  ])('%j after %j', (shims, strokes, are) => {
    expect(areOfKills(shims, strokes)).toBe(are);
  });
});

const nothing = { left: [], emptyShims: [] };
