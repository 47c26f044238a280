import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { createDockerEngine } from '@inference-server/container-engine';
import { consumerToken, createLogger, loadConfig } from '@inference-server/service-kit';
import { createGpuStandIn, testFolder, type GpuStandIn } from '@inference-server/testing';
import { Config } from '../src/config.js';
import { createGpuSource, type GpuSource } from '../src/devices/gpu-source.js';

const never = new AbortController().signal;
const gpuOf = (at: number, utilization: number) => ({
  uuid: `GPU-${at}f1c2a3b-0000-4000-8000-000000000001`,
  ...{ name: 'NVIDIA L40S', memoryMib: 46_068, utilization },
});
const [first, second] = [gpuOf(1, 30), gpuOf(2, 60)];

let gpus: GpuStandIn;
beforeEach(async () => {
  gpus = await createGpuStandIn(await testFolder(), [first, second]);
});

describe('whether a device can be used', () => {
  it('is told by a look of then, whoever has looked just before', async () => {
    const source = sourceOf(gpus.path);
    await source.list(never);
    expect(await source.troubleWith([first.uuid], never)).toBeUndefined();
    await gpus.lose(first.uuid);
    const both = [first.uuid, second.uuid];
    expect(await source.troubleWith(both, never)).toMatchObject({
      ...{ devices: [first.uuid], areGone: true },
      reason: `nvidia-smi knows no ${first.uuid} any more.`,
    });
    expect(await source.troubleWith([second.uuid], never)).toBeUndefined();
    await gpus.mend(first.uuid);
    expect(await source.troubleWith([first.uuid], never)).toBeUndefined();
  });

  it('is looked for once for all who ask periodically, in half the time between two looks of one', async () => {
    const source = sourceOf(gpus.path, { GPU_CHECK_S: '2' });
    const ask = () => source.periodicTroubleWith([first.uuid], never);
    await Promise.all([ask(), ask()]);
    await ask();
    expect(await looks()).toBe(1);
    await gpus.lose(first.uuid);
    await expect.poll(ask, { timeout: 5_000 }).toMatchObject({ areGone: true });
    expect(await looks()).toBe(2);
  });

  it('is not told where nobody can tell', async () => {
    const source = sourceOf(gpus.path);
    await gpus.fail('Failed to initialize NVML: Driver/library version mismatch');
    expect(await source.troubleWith([first.uuid], never)).toBeUndefined();
    const without = sourceOf('/nowhere');
    expect(await without.troubleWith([first.uuid], never)).toBeUndefined();
    const reason = new Error('enough');
    const aborted = source.troubleWith([first.uuid], AbortSignal.abort(reason));
    await expect(aborted).rejects.toBe(reason);
  });
});

describe('what GPUs do', () => {
  it('is asked of those that answer, where one that has fallen off its bus hides them', async () => {
    const source = sourceOf(gpus.path);
    await gpus.setProcesses([{ gpu: second.uuid, pid: 7, memoryMib: 9 }]);
    await gpus.fallOff(first.uuid, { hidesOthers: true });
    // Nobody has listed any yet.
    await expect(source.sample(never)).rejects.toThrow('Unable to determine the device handle');
    await source.list(never);
    const sampled = async () => (await source.sample(never).catch(() => undefined))?.processes;
    await expect
      .poll(sampled, { timeout: 5_000 })
      .toEqual([{ gpu: second.uuid, pid: 7, memoryMib: 9 }]);
    expect((await source.sample(never))?.utilization).toEqual(new Map([[second.uuid, 60]]));
  });
});

it('a look that is under way ends when nothing is to be asked any more', async () => {
  const folder = await testFolder();
  const script = '#!/bin/sh\nexec sleep 100\n';
  await writeFile(join(folder, 'nvidia-smi'), script, { mode: 0o755 });
  const source = sourceOf(folder);
  const listing = source.list(never);
  listing.catch(() => undefined);
  await source.close();
  await expect(listing).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
});

function sourceOf(path: string, settings: Record<string, string> = {}): GpuSource {
  const config = loadConfig(Config, {
    PRIVATE_API_URL: 'http://127.0.0.1:7000',
    CONSUMER_TOKEN: consumerToken('an-operator-token-of-some-length', 'own'),
    REDIS_URL: 'redis://127.0.0.1:6379',
    PATH: `${path}:/usr/bin:/bin`,
    ...settings,
  });
  const engine = createDockerEngine({ dockerHost: config.DOCKER_HOST });
  return createGpuSource({ config, engine, logger: createLogger('test', 'silent') });
}

/** How often all GPUs were listed. */
async function looks(): Promise<number> {
  return (await gpus.asked()).filter((question) => question === '-L').length;
}
