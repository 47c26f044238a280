import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, inject, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import { createGpuStandIn, testFolder } from '@inference-server/testing';
import { listGpus } from '../src/devices/gpu-listing.js';
import { sampleGpus } from '../src/devices/gpu-sample.js';
import { createNvidiaSmi } from '../src/devices/nvidia-smi.js';
import { readGpus } from '../src/devices/nvidia-smi-output.js';

const first = 'GPU-11111111-0000-4000-8000-000000000001';
const second = 'GPU-22222222-0000-4000-8000-000000000002';
const never = new AbortController().signal;

describe('what nvidia-smi tells', () => {
  it('is the GPUs with their memory and what is used of it', () => {
    const xml = logOf(
      gpu({ uuid: first, name: 'NVIDIA L40S', total: '46068 MiB' }),
      gpu({ uuid: second, name: 'NVIDIA L4', total: '23034 MiB' }),
    );
    const list = `GPU 0: NVIDIA L40S (UUID: ${first})\nGPU 1: NVIDIA L4 (UUID: ${second})\n`;
    expect(readGpus(xml, list)).toEqual([
      {
        uuid: first,
        name: 'NVIDIA L40S',
        memoryMib: 46068,
        driver: '550.90.07',
        needs: null,
      },
      {
        uuid: second,
        name: 'NVIDIA L4',
        memoryMib: 23034,
        driver: '550.90.07',
        needs: null,
      },
    ]);
  });

  it('is the slices of a GPU that is divided, in its place', () => {
    const slices = [
      slice(0, '<total>40192 MiB</total><used>87 MiB</used>'),
      slice(1, '<total>9856 MiB</total><used>12 MiB</used>'),
    ].join('');
    const xml = logOf(
      gpu({ uuid: first, name: 'NVIDIA L4', total: '23034 MiB' }),
      gpu({ uuid: second, mig: 'Enabled', slices, more: recovery('Drain and Reset') }),
    );
    const list = [
      `GPU 0: NVIDIA L4 (UUID: ${first})`,
      `GPU 1: NVIDIA H100 80GB HBM3 (UUID: ${second})`,
      '  MIG 3g.40gb     Device  0: (UUID: MIG-aaaaaaaa-0000-5000-8000-000000000001)',
      '  MIG 1g.10gb+me  Device  1: (UUID: MIG-aaaaaaaa-0000-5000-8000-000000000002)',
      '',
    ].join('\n');
    expect(readGpus(xml, list).slice(1)).toEqual([
      {
        uuid: 'MIG-aaaaaaaa-0000-5000-8000-000000000001',
        name: 'NVIDIA H100 80GB HBM3 MIG 3g.40gb',
        memoryMib: 40192,
        driver: '550.90.07',
        needs: 'Drain and Reset',
      },
      {
        uuid: 'MIG-aaaaaaaa-0000-5000-8000-000000000002',
        name: 'NVIDIA H100 80GB HBM3 MIG 1g.10gb+me',
        memoryMib: 9856,
        driver: '550.90.07',
        needs: 'Drain and Reset',
      },
    ]);
  });

  it('tells slices of two GPUs apart that have the same number', () => {
    const slices = slice(0, '<total>1 MiB</total>');
    const xml = logOf(
      gpu({ uuid: first, mig: 'Enabled', slices }),
      gpu({ uuid: second, mig: 'Enabled', slices }),
    );
    const list = `GPU 0: a (UUID: ${first})
  MIG 7g.80gb Device 0: (UUID: MIG-one)
GPU 1: b (UUID: ${second})
  MIG 7g.80gb Device 0: (UUID: MIG-two)`;
    expect(readGpus(xml, list).map(({ uuid }) => uuid)).toEqual(['MIG-one', 'MIG-two']);
  });

  it('takes the names that old drivers give to slices as they are', () => {
    const xml = logOf(gpu({ uuid: first, mig: 'Enabled', slices: slice(2, '') }));
    const uuid = `MIG-${first}/9/0`;
    const list = `GPU 0: A100-PCIE-40GB (UUID: ${first})\n  MIG 1g.5gb Device 2: (UUID: ${uuid})\n`;
    expect(readGpus(xml, list)).toMatchObject([{ uuid, memoryMib: null }]);
  });

  it('takes the UUID of a slice from the report, where that has it', () => {
    const xml = logOf(
      gpu({ uuid: first, mig: 'Enabled', slices: slice(0, '', '<uuid>MIG-own</uuid>') }),
    );
    expect(readGpus(xml, '')).toMatchObject([
      { uuid: 'MIG-own', name: 'NVIDIA H100 80GB HBM3 MIG' },
    ]);
  });

  it('is nothing of a GPU that is to be divided and is not yet', () => {
    const xml = logOf(gpu({ uuid: first, mig: 'Enabled', slices: 'None' }));
    expect(readGpus(xml, `GPU 0: x (UUID: ${first})\n`)).toEqual([]);
  });

  it.each(['N/A', '[N/A]', '[Insufficient Permissions]', 'ERR!', '[Unknown Error]', '', '1 GiB'])(
    'does not know an amount that is "%s"',
    (value) => {
      const xml = logOf(gpu({ uuid: first, total: value }));
      expect(readGpus(xml, '')).toMatchObject([{ uuid: first, memoryMib: null }]);
    },
  );

  it('does not know what is left out', () => {
    const xml = `<nvidia_smi_log><gpu id="0"><uuid>${first}</uuid></gpu></nvidia_smi_log>`;
    const unknown = { memoryMib: null, driver: null, needs: null };
    expect(readGpus(xml, '')).toEqual([{ uuid: first, name: null, ...unknown }]);
  });

  it('leaves out a GPU that cannot be asked for', () => {
    const xml = logOf(gpu({ uuid: 'GPU is lost' }), gpu({ uuid: second }));
    expect(readGpus(xml, '')).toMatchObject([{ uuid: second }]);
  });

  it('is not disturbed by warnings, nor by the names of programs', () => {
    const programs = '<processes><process_info><process_name>a <b & c</process_name></processes>';
    const xml = logOf(gpu({ uuid: first, more: programs }), gpu({ uuid: second }));
    const answer = `WARNING: first\n${xml}WARNING: infoROM is corrupted at gpu 0000:01:00.0\n`;
    expect(readGpus(answer, '')).toMatchObject([{ uuid: first }, { uuid: second }]);
  });

  it('is nothing where the driver has no GPU', () => {
    const none = '<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>';
    expect(readGpus(none, '')).toEqual([]);
  });

  it.each(
    Object.entries({
      nothing: '',
      words: 'command not known',
      'another document': '<html><body>502</body></html>',
      'an empty log': '<nvidia_smi_log></nvidia_smi_log>',
      'half of one': logOf(gpu({ uuid: first })).slice(0, 400),
      'a GPU without a UUID': '<nvidia_smi_log><gpu><a>1</a></gpu></nvidia_smi_log>',
      'an empty GPU': '<nvidia_smi_log><gpu/></nvidia_smi_log>',
      'several devices in one UUID': logOf(gpu({ uuid: `${first},${second}` })),
      'a CDI name as UUID': logOf(gpu({ uuid: 'nvidia.com/gpu=all' })),
      'all as UUID': logOf(gpu({ uuid: 'all' })),
      'two UUIDs': logOf(gpu({ uuid: `${first}</uuid><uuid>all` })),
      'a slice that is not listed': logOf(
        gpu({ uuid: first, mig: 'Enabled', slices: slice(0, '') }),
      ),
      'deep nesting': `<nvidia_smi_log>${'<gpu>'.repeat(200_000)}</nvidia_smi_log>`,
      'brackets alone': `<nvidia_smi_log>${'<'.repeat(1_000_000)}</nvidia_smi_log>`,
      'an entity for a UUID': `<!DOCTYPE x [<!ENTITY u "${first}">]>${logOf(gpu({ uuid: '&u;' }))}`,
      'a type inside': `<nvidia_smi_log><!DOCTYPE x [<!ENTITY u "${first}">]><gpu><uuid>&u;</uuid></gpu></nvidia_smi_log>`,
      'too much': `${logOf(gpu({ uuid: first }))}${' '.repeat(4 * 1024 ** 2)}`,
    }),
  )('is refused: %s', (_what, xml) => {
    const began = performance.now();
    expect(() => readGpus(xml, '')).toThrow(AppError);
    expect(() => readGpus(xml, '')).toThrow(/not understood/);
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});

describe('what a GPU needs before it can be relied on', () => {
  const old = (required: string) =>
    `<gpu_reset_status><reset_required>${required}</reset_required></gpu_reset_status>`;
  it.each([
    ['nothing', recovery('None'), null],
    ['nothing, where nobody can tell', recovery('N/A'), null],
    ['a reset', recovery('Reset'), 'Reset'],
    ['a reset, as drivers before R550 say it', old('Yes'), 'Reset'],
    ['nothing, as they say it', old('No'), null],
    [
      'nothing, where both stand',
      old('Requested functionality has been deprecated') + recovery('None'),
      null,
    ],
  ])('is %s', (_what, more, needs) => {
    expect(readGpus(logOf(gpu({ uuid: first, more })), '')).toMatchObject([{ needs }]);
  });
});

describe('what the GPUs do', () => {
  const answers = (processes: string, gpus: string) => async (args: string[]) => {
    const [what, form] = args;
    expect(form).toBe('--format=csv,noheader,nounits');
    const isOfProcesses = what === '--query-compute-apps=gpu_uuid,pid,used_memory';
    if (!isOfProcesses) expect(what).toBe('--query-gpu=uuid,utilization.gpu');
    return { exitCode: 0, output: isOfProcesses ? processes : gpus, errors: '' };
  };

  it('is what their processes have of their memory, and how busy they are', async () => {
    const sample = await sampleGpus(
      answers(
        `${first}, 101, 512\n${second}, 101, 7\n${first}, 102, 3\n`,
        `${first}, 97\n${second}, 0\n`,
      ),
    );
    expect(sample).toEqual({
      processes: [
        { gpu: first, pid: 101, memoryMib: 512 },
        { gpu: second, pid: 101, memoryMib: 7 },
        { gpu: first, pid: 102, memoryMib: 3 },
      ],
      utilization: new Map([
        [first, 97],
        [second, 0],
      ]),
    });
  });

  it.each(['', '\n', 'No running processes found\n', `${first}, [N/A], [N/A]\n`, 'a,b,c,d\n,,,\n'])(
    'is nothing where nobody can tell: %j',
    async (text) => {
      expect(await sampleGpus(answers(text, text))).toEqual({
        processes: [],
        utilization: new Map(),
      });
    },
  );

  it('fails with the words of the program', async () => {
    const failing = () => Promise.resolve({ exitCode: 255, output: '', errors: 'Unknown Error\n' });
    await expect(sampleGpus(failing)).rejects.toThrow('nvidia-smi ended with 255: Unknown Error');
  });
});

describe('a GPU that has fallen off its bus', () => {
  it('does not hide the others', async () => {
    const gpus = await createGpuStandIn(await testFolder());
    const [whole = '', ...slices] = gpus.uuids;
    const environment = { ...inject('environment'), PATH: `${gpus.path}:/usr/bin:/bin` };
    const smi = createNvidiaSmi({ environment });
    const found = async () => (await smi.list(never))?.map(({ uuid }) => uuid);
    await gpus.fallOff(whole);
    expect(await found()).toEqual(slices);
    await gpus.mend(whole);
    expect(await found()).toEqual([whole, ...slices]);
  });

  it('is not to blame when the driver itself does not answer', async () => {
    let asked = 0;
    const mismatch = 'Failed to initialize NVML: Driver/library version mismatch\n';
    const failing = () => {
      asked += 1;
      return Promise.resolve({ exitCode: 18, output: mismatch, errors: '' });
    };
    await expect(listGpus(failing)).rejects.toThrow('version mismatch');
    expect(asked).toBe(1);
  });
});

describe('the program', () => {
  const whole = logOf(gpu({ uuid: first }));
  const list = `GPU 0: NVIDIA H100 80GB HBM3 (UUID: ${first})`;

  it('is asked twice', async () => {
    const smi = await programOf(`case "$*" in
  "-q -x") cat <<'END'
${whole}
END
  ;;
  -L) echo "${list}" ;;
  *) exit 2 ;;
esac`);
    expect(await smi.list(never)).toMatchObject([{ uuid: first, memoryMib: 81559 }]);
  });

  it('is found on the PATH that is given, and nowhere else', async () => {
    const folder = await testFolder();
    const empty = createNvidiaSmi({ environment: { PATH: folder } });
    expect(await empty.list(never)).toBeUndefined();
    await write(join(folder, 'nvidia-smi'), 'echo "No devices were found"; exit 6');
    expect(await empty.list(never)).toEqual([]);
  });

  const complaint = 'Unable to determine the device handle for GPU0000:01:00.0: Unknown Error';
  it.each(
    Object.entries({
      'after other words': `echo "fine so far"; echo "${complaint}" >&2; exit 255`,
      'as its output': `echo "${complaint}"; exit 255`,
      'at the second question': `[ "$1" = -L ] || { echo '${whole}'; exit; }; echo "${complaint}"; exit 255`,
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

  it('is nobody waited for when it leaves a child behind that holds its output', async () => {
    const smi = await programOf('sleep 2 & wait', 300);
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

interface Told {
  uuid: string;
  name?: string;
  total?: string;
  mig?: string;
  slices?: string;
  more?: string;
}

function gpu(told: Told): string {
  const { uuid, name = 'NVIDIA H100 80GB HBM3', total = '81559 MiB' } = told;
  const { mig = 'N/A', slices = 'None', more = '' } = told;
  return `
  <gpu id="00000000:01:00.0">
    <product_name>${name}</product_name>
    <mig_mode><current_mig>${mig}</current_mig><pending_mig>${mig}</pending_mig></mig_mode>
    <mig_devices>
      ${slices}
    </mig_devices>
    <uuid>${uuid}</uuid>
    <fb_memory_usage><total>${total}</total><used>1 MiB</used></fb_memory_usage>
    <bar1_memory_usage><total>256 MiB</total><used>2 MiB</used></bar1_memory_usage>
    <utilization><gpu_util>7 %</gpu_util><memory_util>99 %</memory_util></utilization>${more}
  </gpu>`;
}

function recovery(action: string): string {
  return `<gpu_recovery_action>${action}</gpu_recovery_action>`;
}

function slice(index: number, memory: string, more = ''): string {
  return `<mig_device><index>${index}</index>${more}
    <gpu_instance_id>${index + 1}</gpu_instance_id><compute_instance_id>0</compute_instance_id>
    <fb_memory_usage>${memory}</fb_memory_usage></mig_device>`;
}

function logOf(...gpus: string[]): string {
  return `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <driver_version>550.90.07</driver_version>
  <attached_gpus>${gpus.length}</attached_gpus>${gpus.join('')}
</nvidia_smi_log>
`;
}
