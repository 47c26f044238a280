import { describe, expect, inject, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import { createGpuStandIn, testFolder } from '@inference-server/testing';
import { listGpus, type SmiRun } from '../src/devices/gpu-listing.js';
import { createNvidiaSmi } from '../src/devices/nvidia-smi.js';

const first = 'GPU-11111111-0000-4000-8000-000000000001';
const second = 'GPU-22222222-0000-4000-8000-000000000002';
const [slice, other] = [
  'MIG-aaaaaaaa-0000-5000-8000-000000000001',
  'MIG-bbbbbbbb-0000-5000-8000-000000000002',
];
const never = new AbortController().signal;

const fine = (output: string): SmiRun => ({ exitCode: 0, output, errors: '' });
const invalid: SmiRun = {
  exitCode: 2,
  output: 'Field "x" is not a valid field to query.\n',
  errors: '',
};
const newest = 'uuid,memory.total,driver_version,mig.mode.current,gpu_recovery_action';

/** An nvidia-smi that answers so; what it was asked comes with it. */
function smiOf(answers: {
  list?: string;
  details?: Record<string, string>;
  report?: string;
  more?: (args: string[]) => SmiRun | undefined;
}) {
  const asked: string[] = [];
  const run = async (args: string[]): Promise<SmiRun> => {
    asked.push(args.join(' '));
    const own = answers.more?.(args);
    if (own !== undefined) return own;
    if (args[0] === '-L') return fine(answers.list ?? '');
    if (args[0] === '-q') return fine(answers.report ?? '');
    const query = args[0]?.replace('--query-gpu=', '') ?? '';
    const rows = answers.details?.[query];
    return rows === undefined ? invalid : fine(rows);
  };
  return { run, asked };
}

const twoGpus = `GPU 0: NVIDIA L40S (UUID: ${first})\nGPU 1: NVIDIA L4, 24 GB (UUID: ${second})\n`;

describe('the GPUs that nvidia-smi lists', () => {
  it('have a name, memory, and a driver', async () => {
    const details = {
      [newest]: `${first}, 46068, 550.90.07, [N/A], None\n${second}, 23034, 550.90.07, Disabled, None\n`,
    };
    expect(await listGpus(smiOf({ list: twoGpus, details }).run)).toEqual({
      gpus: [
        { uuid: first, name: 'NVIDIA L40S', memoryMib: 46068, driver: '550.90.07', needs: null },
        {
          uuid: second,
          name: 'NVIDIA L4, 24 GB',
          memoryMib: 23034,
          driver: '550.90.07',
          needs: null,
        },
      ],
      answering: [first, second],
      unsliced: [],
      failures: [],
    });
  });

  it.each([
    ['None', null],
    ['[N/A]', null],
    ['Unknown Error', null],
    ['Drain P2P', null],
    ['Not Supported', null],
    ['Reset', 'Reset'],
    ['Drain and Reset', 'Drain and Reset'],
    ['Reboot', 'Reboot'],
    ['[GPU requires reset]', 'Reset'],
    ['GPU requires reset', 'Reset'],
    ['[GPU is lost]', 'Reboot'],
  ])('need what must be done to them: %s', async (action, needs) => {
    const details = { [newest]: `${first}, 46068, 550.90.07, [N/A], ${action}\n` };
    const { gpus } = await listGpus(smiOf({ list: twoGpus, details }).run);
    expect(gpus[0]).toMatchObject({ needs });
  });

  it.each([
    [
      'uuid,memory.total,driver_version,mig.mode.current,gpu_reset_status.reset_required',
      'Disabled, Yes',
      'Reset',
    ],
    [
      'uuid,memory.total,driver_version,mig.mode.current,gpu_reset_status.reset_required',
      'Disabled, No',
      null,
    ],
    ['uuid,memory.total,driver_version,mig.mode.current', 'Disabled', null],
    ['uuid,memory.total,driver_version', '', null],
  ])('are described as far as an older driver can: %s %s', async (query, more, needs) => {
    const row = [first, '46068', '440.33.01', ...(more === '' ? [] : [more])].join(', ');
    const { gpus } = await listGpus(smiOf({ list: twoGpus, details: { [query]: `${row}\n` } }).run);
    expect(gpus[0]).toMatchObject({ memoryMib: 46068, driver: '440.33.01', needs });
  });

  it.each([
    ...['[N/A]', '[Unknown Error]', '', '1 GiB', '-5', '99999999999999'].map(
      (memory) => [memory, null] as const,
    ),
    ['GPU is lost', 'Reboot'],
    ['[GPU requires reset]', 'Reset'],
  ] as const)(
    'may not tell of their memory, which "%s" may have a reason for',
    async (memory, needs) => {
      const details = { [newest]: `${first}, ${memory}, [N/A], [N/A], [N/A]\n` };
      const { gpus } = await listGpus(smiOf({ list: twoGpus, details }).run);
      expect(gpus[0]).toEqual({
        uuid: first,
        name: 'NVIDIA L40S',
        memoryMib: null,
        driver: null,
        needs,
      });
    },
  );

  it('are there without any description', async () => {
    const { gpus } = await listGpus(smiOf({ list: twoGpus }).run);
    expect(gpus.map(({ uuid }) => uuid)).toEqual([first, second]);
  });

  it.each(['No devices were found\n', 'No devices found.\n'])('may be none: %j', async (output) => {
    const run = () => Promise.resolve({ exitCode: 6, output, errors: '' });
    expect(await listGpus(run)).toEqual(none());
  });

  it.each([
    '',
    'no GPUs today',
    `GPU 0: a (UUID: ${first},all)`,
    'GPU 0: a (UUID: all)',
    'x'.repeat(5 * 1024 ** 2),
  ])('are refused in an answer that is none', async (list) => {
    const failure = listGpus(smiOf({ list }).run);
    await expect(failure).rejects.toBeInstanceOf(AppError);
    await expect(failure).rejects.toThrow(/not understood/);
  });
});

describe('a GPU that is divided', () => {
  const divided = [
    `GPU 0: NVIDIA H100 80GB HBM3 (UUID: ${first})`,
    `  MIG 3g.40gb     Device  0: (UUID: ${slice})`,
    `  MIG 1g.10gb+me  Device  1: (UUID: ${other})`,
    `GPU 1: NVIDIA L4 (UUID: ${second})`,
    '',
  ].join('\n');
  const details = {
    [newest]: `${first}, 81559, 550.90.07, Enabled, Drain and Reset\n${second}, 23034, 550.90.07, [N/A], None\n`,
  };

  it('is there as its slices, with their memory', async () => {
    const report = logOf(first, sliceOf(0, '40192 MiB') + sliceOf(1, '9856 MiB'));
    const { run, asked } = smiOf({ list: divided, details, report });
    const { gpus } = await listGpus(run);
    const common = { gpuUuid: first, driver: '550.90.07', needs: 'Drain and Reset' };
    expect(gpus).toEqual([
      { uuid: slice, name: 'NVIDIA H100 80GB HBM3 MIG 3g.40gb', memoryMib: 40192, ...common },
      { uuid: other, name: 'NVIDIA H100 80GB HBM3 MIG 1g.10gb+me', memoryMib: 9856, ...common },
      { uuid: second, name: 'NVIDIA L4', memoryMib: 23034, driver: '550.90.07', needs: null },
    ]);
    expect(asked).toContain(`-q -x -i ${first}`);
    expect(asked).not.toContain(`-q -x -i ${second}`);
  });

  it('is there as nothing before it has slices, and is told of', async () => {
    const list = `GPU 0: NVIDIA H100 80GB HBM3 (UUID: ${first})\n`;
    const listing = await listGpus(smiOf({ list, details }).run);
    expect(listing).toEqual({ ...none(), answering: [first], unsliced: [first] });
  });

  it.each([
    ['their own', [1, 2], [40_192, 40_193]],
    ['an even part of what they have together', [1, 1], [20_096, 20_096]],
  ] as const)('has slices with %s', async (_what, [one, two], mib) => {
    const report = logOf(first, sliceOf(0, '40192 MiB', one) + sliceOf(1, '40193 MiB', two));
    const { gpus } = await listGpus(smiOf({ list: divided, details, report }).run);
    expect(gpus.slice(0, 2).map(({ memoryMib }) => memoryMib)).toEqual(mib);
  });

  it('may have slices with the names that old drivers give them', async () => {
    const uuid = `MIG-${first}/9/0`;
    const list = `GPU 0: A100 (UUID: ${first})\n  MIG 1g.5gb Device 2: (UUID: ${uuid})\n`;
    const { gpus } = await listGpus(smiOf({ list }).run);
    expect(gpus).toMatchObject([{ uuid, memoryMib: null }]);
  });

  it.each(
    Object.entries({
      nothing: '',
      'another document': '<html><body>502</body></html>',
      'half of one': logOf(first, sliceOf(0, '40192 MiB')).slice(0, 120),
      'brackets alone': `<nvidia_smi_log>${'<'.repeat(100_000)}</nvidia_smi_log>`,
      'deep nesting': `<nvidia_smi_log>${'<gpu>'.repeat(200_000)}</nvidia_smi_log>`,
      'too much': `${logOf(first, sliceOf(0, '40192 MiB'))}${' '.repeat(4 * 1024 ** 2)}`,
      'the slice of another': logOf(second, sliceOf(0, '40192 MiB')),
      'a size that nobody knows': logOf(first, sliceOf(0, '[N/A]')),
      'a name that ends its element': logOf(
        first,
        sliceOf(0, '40192 MiB'),
        `</processes><mig_devices>${sliceOf(0, '7 MiB')}</mig_devices>`,
      ),
      'a name that begins a comment': logOf(first, sliceOf(0, '40192 MiB'), '<!--'),
    }),
  )('does not know the memory of a slice from a report with %s', async (_what, report) => {
    const began = performance.now();
    const { gpus } = await listGpus(smiOf({ list: divided, details, report }).run);
    expect(gpus[0]).toMatchObject({ uuid: slice, memoryMib: null });
    expect(performance.now() - began).toBeLessThan(5_000);
  });

  it('is not disturbed by warnings, nor by the names of programs', async () => {
    const report = `WARNING: first\n${logOf(first, sliceOf(0, '40192 MiB'), 'a <b & c')}WARNING: last\n`;
    const { gpus } = await listGpus(smiOf({ list: divided, details, report }).run);
    expect(gpus[0]).toMatchObject({ uuid: slice, memoryMib: 40192 });
  });
});

describe('a GPU that does not answer', () => {
  it('does not hide the others, and is told of', async () => {
    const gpus = await createGpuStandIn(await testFolder());
    const [whole = '', ...slices] = gpus.uuids;
    const environment = { ...inject('environment'), PATH: `${gpus.path}:/usr/bin:/bin` };
    const smi = createNvidiaSmi({ environment });
    const found = async () => {
      const listing = await smi.list(never);
      return listing && { uuids: listing.gpus.map(({ uuid }) => uuid), failures: listing.failures };
    };
    await gpus.fallOff(whole);
    expect(await found()).toEqual({
      uuids: slices,
      failures: ['GPU 0: Unable to determine the device handle for GPU0: Unknown Error'],
    });
    const listing = await smi.list(never);
    expect(listing?.gpus.every(({ memoryMib }) => memoryMib !== null)).toBe(true);
    await gpus.mend(whole);
    expect(await found()).toEqual({ uuids: [whole, ...slices], failures: [] });
  });

  const words = 'Unable to determine the device handle for gpu 0000:0A:00.0: Unknown Error';
  const noMore = { exitCode: 6, output: 'No devices were found\n', errors: '' };

  it('may be told of in the list of the others', async () => {
    const list = `${words}\nGPU 1: NVIDIA L4 (UUID: ${second})\n`;
    const details = { [newest]: `${second}, 23034, 550.90.07, [N/A], None\n` };
    for (const exitCode of [0, 255]) {
      const { run } = smiOf({
        details,
        more: ([what]) => {
          if (what === '-L') return { exitCode, output: list, errors: '' };
          return what === '--query-gpu=uuid,name' ? noMore : undefined;
        },
      });
      const { gpus, failures } = await listGpus(run);
      expect(gpus).toMatchObject([{ uuid: second, memoryMib: 23034 }]);
      expect(failures).toEqual([words]);
    }
  });

  it('may be the only one', async () => {
    const both = { exitCode: 6, output: `${words}\nNo devices were found\n`, errors: '' };
    const { run } = smiOf({ more: (args) => (args.includes('1') ? noMore : both) });
    const { gpus, failures } = await listGpus(run);
    expect(gpus).toEqual([]);
    expect(failures).toEqual([expect.stringContaining(`GPU 0: ${words}`)]);
  });

  it('is described without it, and its place is no end of the list', async () => {
    const lost = { exitCode: 255, output: '', errors: `${words}\n` };
    const { run, asked } = smiOf({
      details: { [newest]: `${second}, 23034, 550.90.07, [N/A], None\n` },
      more: (args) => {
        // Alone is listed what all are.
        if (args[0] === '-L') return args.length === 1 ? lost : fine(twoGpus);
        if (args[0] !== '--query-gpu=uuid,name') return undefined;
        const index = Number(args.at(-1));
        return [lost, fine(`${second}, NVIDIA L4, 24 GB\n`)][index] ?? noMore;
      },
    });
    const { gpus, answering } = await listGpus(run);
    expect(gpus).toMatchObject([{ uuid: second, name: 'NVIDIA L4, 24 GB', memoryMib: 23034 }]);
    expect(answering).toEqual([second]);
    expect(asked.at(-1)).toBe(`--query-gpu=${newest} --format=csv,noheader,nounits -i ${second}`);
  });

  it('may be all that a list tells of, with whatever code, on either stream', async () => {
    for (const end of [
      { exitCode: 0, output: `${words}\n`, errors: '' },
      { exitCode: 6, output: 'No devices were found\n', errors: `${words}\n` },
    ]) {
      const { run } = smiOf({ more: ([what]) => (what === '-L' ? end : noMore) });
      expect(await listGpus(run)).toEqual({ ...none(), failures: [words] });
    }
  });

  it('lets nothing be said of slices that cannot be listed', async () => {
    const lost = { exitCode: 255, output: '', errors: `${words}\n` };
    const { run } = smiOf({
      details: { [newest]: `${second}, 23034, 550.90.07, Enabled, None\n` },
      more: (args) => {
        if (args[0] === '-L') return lost;
        if (args[0] !== '--query-gpu=uuid,name') return undefined;
        return [lost, fine(`${second}, NVIDIA A30\n`)][Number(args.at(-1))] ?? noMore;
      },
    });
    await expect(listGpus(run)).rejects.toThrow(`does not list the slices of ${second}`);
  });

  it('lets nothing be said of others when the driver itself goes in the meantime', async () => {
    const lost = { exitCode: 255, output: '', errors: `${words}\n` };
    const gone = { exitCode: 18, output: 'Failed to initialize NVML: Unknown Error\n', errors: '' };
    const { run } = smiOf({
      more: (args) => {
        if (args[0] === '-L') return lost;
        return args.at(-1) === '0' ? fine(`${first}, NVIDIA L4\n`) : gone;
      },
    });
    await expect(listGpus(run)).rejects.toThrow('Failed to initialize NVML');
  });

  it('is not taken from a list that a signal has cut short', async () => {
    const cut = { exitCode: null, output: twoGpus, errors: '' };
    await expect(listGpus(() => Promise.resolve(cut))).rejects.toThrow('ended by a signal');
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

function none() {
  return { gpus: [], answering: [], unsliced: [], failures: [] };
}

function sliceOf(index: number, total: string, instance?: number): string {
  const of = instance === undefined ? '' : `<gpu_instance_id>${instance}</gpu_instance_id>`;
  return `<mig_device><index>${index}</index>${of}<fb_memory_usage><total>${total}</total></fb_memory_usage></mig_device>`;
}

function logOf(uuid: string, slices: string, programName = 'python3'): string {
  return `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <gpu id="00000000:01:00.0">
    <mig_devices>${slices}</mig_devices>
    <uuid>${uuid}</uuid>
    <processes><process_info><process_name>${programName}</process_name></process_info></processes>
  </gpu>
</nvidia_smi_log>
`;
}
