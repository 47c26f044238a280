import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import type { ContainerEngine, ContainerSpec } from '../src/container-engine.js';

/**
 * What every adapter of the port does with the processes of a container. Part of
 * describeContainerEngine; the engine's host is this machine.
 */
export function describeProcesses(scene: {
  engineOf(): ContainerEngine;
  /** Its containers run as 1000:1000. */
  userImage(): string;
  specOf(command: string, more?: Partial<ContainerSpec>): ContainerSpec;
  signal: AbortSignal;
}): void {
  const { engineOf, userImage, specOf, signal } = scene;
  const limits = { timeoutMs: 20_000, maxBytes: 10_000 };

  const start = async (spec: ContainerSpec) => {
    const id = await engineOf().createContainer(spec, signal);
    expect(await engineOf().startContainer(id, signal)).toEqual({ started: true });
    return id;
  };
  const run = (id: string, command: string, more: Partial<typeof limits> = {}) =>
    engineOf().runCommand(id, ['sh', '-c', command], { ...limits, ...more }, signal);
  /** By its command line; read where the test runs. */
  const processOf = async (id: string, commandLine: string) => {
    for (const pid of (await engineOf().listProcesses(id, signal)) ?? []) {
      const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      if (text.split('\0').join(' ').trim() === commandLine) return pid;
    }
    return undefined;
  };
  const whenRuns = async (id: string, commandLine: string) => {
    await expect.poll(() => processOf(id, commandLine), { timeout: 10_000 }).toBeDefined();
    return (await processOf(id, commandLine))!;
  };

  describe('processes', () => {
    it('are those that the host knows by these numbers, for as long as they run', async () => {
      const id = await start(specOf('sleep 1001 & sleep 1002; sleep 1003'));
      const other = await start(specOf('sleep 1004'));
      const first = await whenRuns(id, 'sleep 1001');
      const second = await whenRuns(id, 'sleep 1002');
      const before = await engineOf().listProcesses(id, signal);
      expect(new Set(before).size).toBe(before?.length);
      process.kill(second, 'SIGKILL');
      await whenRuns(id, 'sleep 1003');
      const after = await engineOf().listProcesses(id, signal);
      expect(after).toContain(first);
      expect(after).not.toContain(second);
      const others = await engineOf().listProcesses(other, signal);
      expect(others).not.toHaveLength(0);
      expect(after?.filter((pid) => others?.includes(pid))).toEqual([]);
    });

    it('are not known before the start, after the end, and after the removal', async () => {
      const engine = engineOf();
      const id = await engine.createContainer(specOf('sleep 1000'), signal);
      expect(await engine.listProcesses(id, signal)).toBeUndefined();
      await engine.startContainer(id, signal);
      expect(await engine.listProcesses(id, signal)).toBeDefined();
      await engine.stopContainer(id, 0, signal);
      expect(await engine.listProcesses(id, signal)).toBeUndefined();
      await engine.removeContainer(id, signal);
      expect(await engine.listProcesses(id, signal)).toBeUndefined();
    });
  });

  describe('a command in a running container', () => {
    it('gives its exit code and both streams', async () => {
      const id = await start(specOf('sleep 1000'));
      const end = await run(id, 'echo out; echo err >&2; echo é; exit 3');
      expect(end?.exitCode).toBe(3);
      expect(end?.output.split('\n').sort()).toEqual(['', 'err', 'out', 'é']);
      expect(await run(id, 'true')).toEqual({ exitCode: 0, output: '' });
      expect(await run(id, 'printf "a\\377"')).toEqual({ exitCode: 0, output: 'a\uFFFD' });
    });

    it('keeps the begin of a long output, and whole characters', async () => {
      const id = await start(specOf('sleep 1000'));
      const long = await run(id, 'seq 200000; exit 4', { maxBytes: 101 });
      const numbers = Array.from({ length: 200 }, (_, at) => `${at + 1}\n`).join('');
      expect(long).toEqual({ exitCode: 4, output: numbers.slice(0, 101) });
      expect((await run(id, 'printf "éé"', { maxBytes: 3 }))?.output).toBe('é');
      expect((await run(id, 'printf "éé"', { maxBytes: 4 }))?.output).toBe('éé');
    });

    it('has what the container has: its user, its sandbox, and no input', async () => {
      const id = await start(specOf('sleep 1000', { image: userImage() }));
      const end = await run(id, 'id -u; grep -E "^(CapEff|NoNewPrivs)" /proc/self/status; cat');
      expect(end?.output.replaceAll('\t', ' ').trim().split('\n')).toEqual([
        '1000',
        'CapEff: 0000000000000000',
        'NoNewPrivs: 1',
      ]);
    });

    it('that is not there, or is no program, is data', async () => {
      const id = await start(specOf('sleep 1000'));
      for (const name of ['missing-program', '/missing/program', '/bin', '/proc/version']) {
        const before = performance.now();
        const end = await engineOf().runCommand(id, [name], limits, signal);
        expect([126, 127]).toContain(end?.exitCode);
        expect(end?.output).toContain(name);
        // It is not waited for an end of the container.
        expect(performance.now() - before).toBeLessThan(1_900);
      }
    });

    it('that was killed is not taken for the end of the container', async () => {
      const id = await start(specOf('sleep 1000'));
      expect(await run(id, 'echo a; kill -KILL $$')).toEqual({ exitCode: 137, output: 'a\n' });
    });

    it('is not waited for past its time, and runs on', async () => {
      const id = await start(specOf('sleep 1000'));
      const before = performance.now();
      const late = run(id, 'echo; exec sleep 2001', { timeoutMs: 700 });
      await expect(late).rejects.toMatchObject({ problem: 'overdue', code: 'SERVICE_UNAVAILABLE' });
      expect(performance.now() - before).toBeLessThan(10_000);
      await whenRuns(id, 'sleep 2001');
      await expect(run(id, 'yes', { timeoutMs: 700 })).rejects.toMatchObject({
        problem: 'overdue',
      });
    });

    it('is not waited for when told to stop', async () => {
      const id = await start(specOf('sleep 1000'));
      const stop = new AbortController();
      const reason = new AppError('CONFLICT', 'enough');
      const running = engineOf().runCommand(id, ['sleep', '2002'], limits, stop.signal);
      const rejected = expect(running).rejects.toBe(reason);
      await whenRuns(id, 'sleep 2002');
      stop.abort(reason);
      await rejected;
      const never = engineOf().runCommand(id, ['touch', '/tmp/never'], limits, stop.signal);
      await expect(never).rejects.toBe(reason);
      expect((await run(id, 'ls /tmp'))?.output).toBe('');
    });

    it('is not run before the start, after the end, and after the removal', async () => {
      const engine = engineOf();
      const id = await engine.createContainer(specOf('sleep 1000'), signal);
      expect(await run(id, 'true')).toBeUndefined();
      await engine.startContainer(id, signal);
      expect(await run(id, 'true')).toBeDefined();
      await engine.stopContainer(id, 0, signal);
      expect(await run(id, 'true')).toBeUndefined();
      await engine.removeContainer(id, signal);
      expect(await run(id, 'true')).toBeUndefined();
    });

    it('ends with the container, stopped or removed, and is then without a result', async () => {
      for (const end of ['stop', 'remove'] as const) {
        const id = await start(specOf('sleep 1000'));
        const running = run(id, 'echo begun; exec sleep 2003');
        const pid = await whenRuns(id, 'sleep 2003');
        if (end === 'stop') await engineOf().stopContainer(id, 0, signal);
        else await engineOf().removeContainer(id, signal);
        expect(await running).toBeUndefined();
        expect(() => process.kill(pid, 0)).toThrow('ESRCH');
      }
    });
  });

  it('tells of processes, and runs commands, up to the moment of the end', async () => {
    const until = async <T>(ask: () => Promise<T | undefined>) => {
      const found: T[] = [];
      for (;;) {
        const one = await ask();
        if (one === undefined) return found;
        found.push(one);
      }
    };
    for (let round = 0; round < 6; round += 1) {
      const id = await start(specOf('sleep 0.5'));
      const command = round % 2 === 0 ? 'true' : 'sleep 5';
      const [lists, ends] = await Promise.all([
        until(() => engineOf().listProcesses(id, signal)),
        until(() => run(id, command)),
      ]);
      expect(lists).not.toContainEqual([]);
      for (const end of ends) expect(end).toEqual({ exitCode: 0, output: '' });
    }
  });
}
