import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { createGpuStandIn, ownEngine, testFolder, type GpuStandIn } from '../src/index.js';
import type { OwnEngine } from '../src/index.js';

let gpus: GpuStandIn;
let engine: OwnEngine;
let whole = '';
let slice = '';
let divided = '';

beforeAll(async () => {
  // A name that a shell would take apart.
  gpus = await createGpuStandIn(`${await testFolder()}/it's here`);
  engine = await ownEngine({ gpus });
  [whole = '', slice = ''] = gpus.uuids;
  divided = (await ask('-L')).match(/GPU-\S+(?=\)\n {2}MIG)/)?.[0] ?? '';
});

afterEach(async () => {
  for (const name of await containers()) await engine.api.call('DELETE', `/containers/${name}`);
});

const form = '--format=csv,noheader,nounits';

describe('the nvidia-smi of the stand-in', () => {
  test('tells of a GPU and of one in two slices', async () => {
    expect(gpus.uuids).toHaveLength(3);
    const list = await ask('-L');
    expect(list.trim().split('\n')).toHaveLength(4);
    for (const uuid of [...gpus.uuids, divided]) expect(list).toContain(`(UUID: ${uuid})`);
    const report = await ask('-q', '-x', '-i', divided);
    expect(report.match(/<mig_device>/g)).toHaveLength(2);
    const details = 'uuid,memory.total,driver_version,mig.mode.current,gpu_recovery_action';
    const rows = (await ask(`--query-gpu=${details}`, form)).trim().split('\n');
    expect(rows).toEqual([
      expect.stringMatching(`^${whole}, 46068, .*, Disabled, None$`),
      expect.stringMatching(`^${divided}, 81920, .*, Enabled, None$`),
    ]);
    await expect(ask('--help-me')).rejects.toMatchObject({ code: 2 });
  });

  test('tells what it is told to', async () => {
    await gpus.tell(whole, { utilization: 42, recoveryAction: 'Reset' });
    const action =
      '--query-gpu=uuid,memory.total,driver_version,mig.mode.current,gpu_recovery_action';
    expect(await ask(action, form)).toMatch(/, Reset\n/);
    const [ofWhole, ofDivided] = (await ask('--query-gpu=uuid,utilization.gpu', form)).split('\n');
    expect([ofWhole, ofDivided]).toEqual([`${whole}, 42`, `${divided}, [N/A]`]);
    await gpus.setProcesses([{ gpu: whole, pid: 7, memoryMib: 512 }]);
    const query = '--query-compute-apps=gpu_uuid,pid,used_memory';
    expect(await ask(query, form)).toBe(`${whole}, 7, 512\n`);
    expect((await gpus.asked()).at(-1)).toBe(`${query} ${form}`);
    await expect(gpus.tell('GPU-nobody', {})).rejects.toThrow('GPU-nobody');
  });

  test('fails with one that has fallen off its bus and with all, not with the others', async () => {
    await gpus.fallOff(whole);
    for (const of of [[], ['-i', '0']]) {
      await expect(ask('-L', ...of)).rejects.toMatchObject({ code: 255 });
    }
    const utilization = ask('--query-gpu=uuid,utilization.gpu', form);
    await expect(utilization).rejects.toMatchObject({ code: 255, stdout: `${divided}, [N/A]\n` });
    expect(await ask('-L', '-i', '1')).toContain(slice);
    await expect(ask('-L', '-i', '2')).rejects.toMatchObject({ code: 6 });
    await gpus.mend(whole);
    expect(await ask('-L')).toContain(whole);
  });

  test('knows nothing of what is lost until it is mended', async () => {
    await gpus.lose(slice);
    expect(await ask('-L')).not.toContain(slice);
    await gpus.lose(divided);
    await expect(ask('-q', '-x', '-i', divided)).rejects.toMatchObject({ code: 6 });
    await gpus.lose(whole);
    await expect(ask('-L')).rejects.toMatchObject({ code: 6, stdout: 'No devices were found\n' });
    for (const uuid of [whole, divided, slice]) await gpus.mend(uuid);
    expect((await ask('-L')).trim().split('\n')).toHaveLength(4);
  });

  test('fails as it is told to', async () => {
    await gpus.fail('Unable to determine the device handle');
    await expect(ask('-L')).rejects.toMatchObject({
      code: 255,
      stdout: '',
      stderr: 'Unable to determine the device handle\n',
    });
    await gpus.fail(undefined);
    expect(await ask('-L')).toContain(whole);
  });

  test('is never seen half-way through a change', async () => {
    const looks = async () => {
      for (let at = 0; at < 20; at += 1)
        expect(await ask('-q', '-x', '-i', divided)).toMatch(/_log>\n$/);
    };
    const changes = async () => {
      for (let at = 0; at < 100; at += 1) await gpus.tell(divided, { recoveryAction: `${at}` });
    };
    await Promise.all([looks(), changes()]);
  });
});

describe('the hook of the stand-in', () => {
  test('writes down who has which device', async () => {
    const before = await gpus.calls();
    const one = await run([whole], ['echo', 'fine']);
    const other = await run(['all'], ['true']);
    const both = await run([whole, slice], ['true']);
    const none = await run([], ['true']);
    expect((await gpus.calls()).slice(before.length)).toEqual([
      { container: one.id, devices: [whole] },
      { container: other.id, devices: ['all'] },
      { container: both.id, devices: [whole, slice] },
    ]);
    expect([one, other, both, none].map(({ status }) => status)).toEqual([0, 0, 0, 0]);
  });

  test('loses no line of many at once', async () => {
    const before = await gpus.calls();
    const ends = await Promise.all(Array.from({ length: 6 }, () => run([slice], ['true'])));
    const ids = (await gpus.calls()).slice(before.length).map(({ container }) => container);
    expect(ids.sort()).toEqual(ends.map(({ id }) => id).sort());
  });

  test('refuses what is broken or lost, in its words, and nothing else', async () => {
    await gpus.break(slice, 'the slice has fallen off');
    await expect(run([slice], ['true'])).rejects.toThrow('the slice has fallen off');
    expect((await run([whole], ['true'])).status).toBe(0);
    await gpus.lose(divided);
    await gpus.mend(divided);
    await gpus.lose(whole);
    await expect(run([whole], ['true'])).rejects.toThrow(`${whole}: unknown device`);
    await gpus.mend(whole);
    expect((await run([slice, whole], ['true'])).status).toBe(0);
  });

  test('brings nvidia-smi to who does not refuse the programs of the driver', async () => {
    const command = ['nvidia-smi', '-L'];
    const having = (capabilities: string) =>
      run(['all'], command, [`NVIDIA_DRIVER_CAPABILITIES=${capabilities}`]);
    const found = { status: 0, log: await ask('-L') };
    expect(await run(['all'], command)).toMatchObject(found);
    expect(await having('utility')).toMatchObject(found);
    await expect(having('compute')).rejects.toThrow(/nvidia-smi.*not found/);
  });
});

async function ask(...args: string[]): Promise<string> {
  const program = `${gpus.path}/nvidia-smi`;
  const { stdout } = await promisify(execFile)(program, args, { env: inject('environment') });
  return stdout;
}

async function run(devices: string[], command: string[], env: string[] = []) {
  const requests =
    devices.length === 0 ? [] : [{ Driver: 'nvidia', DeviceIDs: devices, Capabilities: [['gpu']] }];
  const { Id: id } = (await engine.api.call('POST', '/containers/create', {
    Image: engine.image,
    Cmd: command,
    Env: env,
    Tty: true,
    HostConfig: { NetworkMode: 'none', DeviceRequests: requests },
  })) as { Id: string };
  await engine.api.call('POST', `/containers/${id}/start`);
  const end = (await engine.api.call('POST', `/containers/${id}/wait`)) as { StatusCode: number };
  const log = (await engine.api.call('GET', `/containers/${id}/logs?stdout=1`)) as string;
  return { id, status: end.StatusCode, log: `${log.replaceAll('\r\n', '\n')}\n` };
}

async function containers(): Promise<string[]> {
  return (await engine.api.listObjects()).map(({ name }) => name);
}
