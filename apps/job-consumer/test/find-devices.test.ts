import { describe, expect, it, vi } from 'vitest';
import { createLogger } from '@inference-server/service-kit';
import { AppError } from '@inference-server/errors';
import { findDevices, isOn } from '../src/devices/find-devices.js';

const logger = createLogger('test', 'silent');
const never = new AbortController().signal;
const engine = { runtimes: ['runc'], cdiDevices: [] as string[] };
const found = ['GPU-1', 'MIG-2'].map((uuid) => ({
  uuid,
  name: `the model of ${uuid}`,
  memoryMib: 1_000,
  driver: '550.54.15',
  needs: null,
}));
const list = async () => ({ gpus: found, answering: [], unsliced: [], failures: [] });
const known = (uuid: string, name: string) => ({
  uuid,
  name: `the model of ${name}`,
  memory_mib: 1_000,
  driver: '550.54.15',
});
const unknown = (uuid: string) => ({ uuid, name: null, memory_mib: null, driver: null });

describe('devices', () => {
  it('are all that are found', async () => {
    expect(await findDevices('auto', { list, engine, logger }, never)).toEqual([
      known('GPU-1', 'GPU-1'),
      known('MIG-2', 'MIG-2'),
    ]);
  });

  it('go by their CDI names where the engine has no other way to them', async () => {
    const cdi = { ...engine, cdiDevices: ['nvidia.com/gpu=0', 'nvidia.com/gpu=GPU-1'] };
    const [first, second] = await findDevices('auto', { list, engine: cdi, logger }, never);
    expect(first).toEqual(known('nvidia.com/gpu=GPU-1', 'GPU-1'));
    expect(second).toEqual(known('MIG-2', 'MIG-2'));
    const both = { ...cdi, runtimes: ['nvidia', 'runc'] };
    expect((await findDevices('auto', { list, engine: both, logger }, never))[0]?.uuid).toBe(
      'GPU-1',
    );
  });

  it('are those that are named, with what is known of them', async () => {
    const asked = ['MIG-2', 'nvidia.com/gpu=GPU-1', 'GPU-9'];
    expect(await findDevices(asked, { list, engine, logger }, never)).toEqual([
      known('MIG-2', 'MIG-2'),
      known('nvidia.com/gpu=GPU-1', 'GPU-1'),
      unknown('GPU-9'),
    ]);
    const nobody = async () => undefined;
    expect(await findDevices(['GPU-1'], { list: nobody, engine, logger }, never)).toEqual([
      unknown('GPU-1'),
    ]);
  });

  it('are without a GPU that is divided and has no slices, with a warning', async () => {
    const own = createLogger('test', 'silent');
    const warn = vi.spyOn(own, 'warn');
    const unsliced = async () => ({ ...(await list()), unsliced: ['GPU-7', 'GPU-8'] });
    const devices = await findDevices('auto', { list: unsliced, engine, logger: own }, never);
    expect(devices.map(({ uuid }) => uuid)).toEqual(['GPU-1', 'MIG-2']);
    expect(warn.mock.calls).toEqual(
      ['GPU-7', 'GPU-8'].map((gpu) => [{ gpu }, 'a GPU is divided, and has no slices']),
    );
  });

  it.each([['auto'], [['GPU-1']]] as const)(
    'of a driver in trouble are waited for for a while: %s',
    async (asked) => {
      let asks = 0;
      const recovering = async () => {
        asks += 1;
        if (asks < 3) throw new AppError('INTERNAL', 'Unknown Error');
        return { gpus: found, answering: [], unsliced: [], failures: [] };
      };
      const [first] = await findDevices(asked, { list: recovering, engine, logger }, never);
      expect(first).toEqual(known('GPU-1', 'GPU-1'));
      const failing = () => Promise.reject(new AppError('INTERNAL', 'Unknown Error'));
      const without = await findDevices(
        asked,
        { list: failing, engine, logger, forMs: 300 },
        never,
      );
      expect(without).toEqual(asked === 'auto' ? [] : [unknown('GPU-1')]);
    },
  );
});

it('a slice tells of which GPU it is, as far as anybody knows', async () => {
  const slices = [{ ...found[1]!, gpuUuid: 'GPU-1' }];
  const sliced = async () => ({ gpus: slices, answering: [], unsliced: [], failures: [] });
  const asked = ['MIG-2', 'MIG-GPU-3/1/0', 'MIG-4'];
  const devices = await findDevices(asked, { list: sliced, engine, logger }, never);
  expect(devices).toEqual([
    { ...known('MIG-2', 'MIG-2'), gpu_uuid: 'GPU-1' },
    { ...unknown('MIG-GPU-3/1/0'), gpu_uuid: 'GPU-3' },
    unknown('MIG-4'),
  ]);
});

it.each([
  ['GPU-1', 'GPU-1', true],
  ['GPU-1', 'nvidia.com/gpu=GPU-1', true],
  ['nvidia.com/gpu=GPU-1', 'GPU-1', true],
  ['GPU-1', 'GPU-10', false],
  ['GPU-1', 'MIG-GPU-1/1/0', true],
  ['GPU-1', 'nvidia.com/gpu=MIG-GPU-1/1/0', true],
  ['GPU-1', 'MIG-GPU-10/1/0', false],
  ['MIG-2', 'GPU-1', true],
  ['MIG-2', 'nvidia.com/gpu=GPU-1', true],
  ['MIG-2', 'MIG-3', false],
  ['MIG-2', 'GPU-2', false],
])('of %s what has %s has something: %s', (uuid, name, is) => {
  const slice = uuid.startsWith('MIG') ? { gpu_uuid: 'GPU-1' } : {};
  expect(isOn({ ...unknown(uuid), ...slice }, name)).toBe(is);
});
