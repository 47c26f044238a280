import { ChildProcess } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, inject, it, vi } from 'vitest';
import { AppError, messageOf } from '@inference-server/errors';
import { testFolder } from '@inference-server/testing';
import { createNvidiaSmi } from '../src/devices/nvidia-smi.js';

const never = new AbortController().signal;

describe('the program', () => {
  it('is asked for a list, and what they are', async () => {
    const smi = await programOf(`case "$1" in
  -L) echo "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)" ;;
  --query-gpu=*) echo "GPU-1, 81559, 550.90.07, [N/A], None" ;;
  *) exit 2 ;;
esac`);
    expect(await smi.list(never)).toMatchObject({ gpus: [{ uuid: 'GPU-1', memoryMib: 81559 }] });
  });

  it('is found on the PATH that is given, and nowhere else', async () => {
    const folder = await testFolder();
    const empty = createNvidiaSmi({ environment: { PATH: folder } });
    expect(await empty.list(never)).toBeUndefined();
    await write(join(folder, 'nvidia-smi'), 'echo "No devices were found"; exit 6');
    expect(await empty.list(never)).toMatchObject({ gpus: [], failures: [] });
  });

  const complaint = 'Unable to determine the device handle for GPU0000:01:00.0: Unknown Error';
  it.each(
    Object.entries({
      'after other words': `echo "fine so far"; echo "${complaint}" >&2; exit 255`,
      'as its output': `echo "${complaint}"; exit 255`,
    }),
  )('tells why it failed, said %s', async (_where, text) => {
    const failure = (await programOf(text)).list(never);
    await expect(failure).rejects.toBeInstanceOf(AppError);
    await expect(failure).rejects.toThrow(`nvidia-smi ended with 255: ${complaint}`);
  });

  it.each(['kill -9 $$', 'exit 3', 'echo hello', 'yes', 'yes >&2'])(
    'fails with an error of ours: %s',
    async (text) => {
      await expect((await programOf(text)).list(never)).rejects.toBeInstanceOf(AppError);
    },
  );

  it('that may not be run is an error, not an absent one', async () => {
    const folder = await testFolder();
    const command = join(folder, 'nvidia-smi');
    await writeFile(command, '#!/bin/sh\n', { mode: 0o644 });
    const failure = createNvidiaSmi({ command, environment: {} }).list(never);
    await expect(failure).rejects.toMatchObject({ name: 'AppError', code: 'INTERNAL' });
  });

  it('that hangs is killed in the end', async () => {
    const smi = await programOf('trap "" TERM; exec sleep 1000', 300);
    await expect(smi.list(never)).rejects.toThrow('nvidia-smi did not answer within 0.3 s.');
  });

  it('is not run beside one that was killed and does not end', async () => {
    // As of a driver that holds it: the one that is killed is not the one that runs.
    const folder = await testFolder();
    const smi = await programOf(`echo run >> ${folder}/runs; exec sleep 1000`, 300);
    const kill = vi.spyOn(ChildProcess.prototype, 'kill').mockReturnValue(false);
    await expect(smi.list(never)).rejects.toThrow('did not answer');
    await expect(smi.list(never)).rejects.toThrow('has not ended yet');
    await expect(smi.sample(never)).rejects.toThrow('has not ended yet');
    const killed = [...kill.mock.contexts] as ChildProcess[];
    kill.mockRestore();
    expect(await readFile(join(folder, 'runs'), 'utf8')).toBe('run\n');
    for (const child of killed) child.kill('SIGKILL');
    await expect
      .poll(async () => messageOf(await smi.list(never).catch((e: unknown) => e)))
      .toContain('did not answer');
  });

  it('is nobody waited for when it leaves a child behind that holds its output', async () => {
    const smi = await programOf('sleep 2 & wait', 300);
    await expect(smi.list(never)).rejects.toThrow('did not answer');
  });

  it('is run again after one that had ended and whose child held its output', async () => {
    const smi = await programOf('sleep 5 & exit 0', 300);
    for (let at = 0; at < 2; at += 1)
      await expect(smi.list(never)).rejects.toThrow('did not answer');
  });

  it('is killed when nobody wants to know any more', async () => {
    const smi = await programOf('exec sleep 1000');
    const reason = new AppError('CONFLICT', 'enough');
    const asking = new AbortController();
    const failure = smi.list(asking.signal);
    setTimeout(() => {
      asking.abort(reason);
    }, 200);
    await expect(failure).rejects.toBe(reason);
    await expect(smi.list(AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

async function programOf(text: string, timeoutMs?: number) {
  const command = join(await testFolder(), 'nvidia-smi');
  await write(command, text);
  const environment = inject('environment');
  return createNvidiaSmi({ command, environment, ...(timeoutMs !== undefined && { timeoutMs }) });
}

async function write(path: string, text: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
}
