import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  answersOf,
  processesOf,
  type StandInGpu,
  type StandInProcess,
} from './gpu-stand-in-answers.js';
import { containerHook, nvidiaSmi } from './gpu-stand-in-programs.js';

/** GPUs that are not there: what an engine and a consumer meet of a vendor's driver. */
export interface GpuStandIn {
  readonly folder: string;
  /** A folder with the vendor's programs, to stand first on the PATH of an engine or a consumer. */
  readonly path: string;
  /** The devices that containers can have: GPUs, and in place of one that is divided its slices. */
  readonly uuids: readonly string[];
  /** What nvidia-smi says of the processes on all GPUs, in place of what it said. */
  setProcesses(processes: readonly StandInProcess[]): Promise<void>;
  /**
   * What it says of a whole GPU: how busy it is (percent), what must be done to it (`None`: nothing), or the
   * same in place of all else (undefined: not any more).
   */
  tell(
    uuid: string,
    told: Pick<StandInGpu, 'utilization' | 'recoveryAction' | 'instead'>,
  ): Promise<void>;
  /** A GPU with its slices, or one slice: nvidia-smi does not know it any more, no container gets it. */
  lose(uuid: string): Promise<void>;
  /** No container gets the device (`all`: who asks for all of them); the engine says why. */
  break(uuid: string, message: string): Promise<void>;
  /**
   * A whole GPU falls off its bus: nvidia-smi fails with that one and with all together, but not with any
   * other alone. Containers are not kept from it. `hidesOthers`: it says nothing of the others then.
   */
  fallOff(uuid: string, how?: { hidesOthers: boolean }): Promise<void>;
  /** Ends what `lose`, `fallOff` and `break` have done to it, and to its slices. */
  mend(uuid: string): Promise<void>;
  /** Has nvidia-smi fail with these words; undefined: not any more. */
  fail(message: string | undefined): Promise<void>;
  /** What nvidia-smi was asked for, outside of containers: its arguments, the first question first. */
  asked(): Promise<string[]>;
  /** Each start of a container with devices, the first first: its id, and the devices that it was to have. */
  calls(): Promise<{ container: string; devices: string[] }[]>;
}

/** Everything is below the folder, and goes with it. Without devices: a GPU, and one in two slices. */
export async function createGpuStandIn(
  folder: string,
  devices: readonly StandInGpu[] = usualGpus,
): Promise<GpuStandIn> {
  const gpus = structuredClone(devices) as StandInGpu[];
  const all = gpus.flatMap((gpu) => [gpu, ...(gpu.slices ?? [])]);
  const lost = new Set<string>();
  const fallen = new Map<string, { hidesOthers: boolean }>();
  const path = join(folder, 'programs');
  const state = join(folder, 'state');
  const broken = join(folder, 'broken');
  for (const made of [path, state, broken]) await mkdir(made, { recursive: true });
  const program = (name: string, text: string) =>
    writeFile(join(path, name), text, { mode: 0o755 });
  await program('nvidia-smi', nvidiaSmi(state));
  await program('nvidia-container-runtime-hook', containerHook(folder));
  await writeFile(join(folder, 'calls'), '');

  let writing = Promise.resolve();
  const write = async () => {
    const left = gpus
      .filter(({ uuid }) => !lost.has(uuid))
      .map((gpu) => ({ ...gpu, slices: gpu.slices?.filter(({ uuid }) => !lost.has(uuid)) }));
    const answers = answersOf(left, fallen);
    for (const [name, text] of answers) await replace(join(state, name), text);
    for (const name of await readdir(state)) {
      const isOld = /^(?:report|list|name|failure)\.|^mute$/.test(name) && !answers.has(name);
      if (isOld) await rm(join(state, name), { force: true });
    }
  };
  // One after the other, so that the last has what all have changed.
  const update = () => (writing = writing.then(write));
  const known = (uuid: string) => {
    const found = all.find((device) => device.uuid === uuid);
    if (found === undefined) throw new Error(`The stand-in has no ${uuid}`);
    return found;
  };
  const withSlices = (uuid: string) => {
    const slices = gpus.find((gpu) => gpu.uuid === uuid)?.slices ?? [];
    return [uuid, ...slices.map((slice) => slice.uuid)];
  };
  // A container may be asked for any device: the engine does not know which there are.
  const refuse = (uuid: string, message: string) =>
    replace(join(broken, fileOf(uuid)), `${message}\n`);

  await replace(join(state, 'processes'), '');
  await replace(join(state, 'asked'), '');
  await update();
  return {
    folder,
    path,
    uuids: gpus.flatMap(({ uuid, slices }) => slices?.map((slice) => slice.uuid) ?? [uuid]),
    setProcesses: (processes) => replace(join(state, 'processes'), processesOf(processes)),
    async tell(uuid, told) {
      Object.assign(known(uuid), told);
      await update();
    },
    async fallOff(uuid, how = { hidesOthers: false }) {
      fallen.set(known(uuid).uuid, how);
      await update();
    },
    async lose(uuid) {
      lost.add(known(uuid).uuid);
      for (const gone of withSlices(uuid)) {
        await refuse(gone, `device error: ${gone}: unknown device`);
      }
      await update();
    },
    break: refuse,
    async mend(uuid) {
      for (const mended of withSlices(uuid)) {
        await rm(join(broken, fileOf(mended)), { force: true });
        lost.delete(mended);
        fallen.delete(mended);
      }
      await update();
    },
    async fail(message) {
      const failure = join(state, 'failure');
      if (message === undefined) await rm(failure, { force: true });
      else await replace(failure, `${message}\n`);
    },
    async asked() {
      return (await readFile(join(state, 'asked'), 'utf8')).split('\n').slice(0, -1);
    },
    async calls() {
      const lines = (await readFile(join(folder, 'calls'), 'utf8')).split('\n').slice(0, -1);
      return lines.map((line) => {
        const [container = '', names = ''] = line.split(' ');
        return { container, devices: names.split(',').filter((name) => name !== '') };
      });
    },
  };
}

const usualGpus: readonly StandInGpu[] = [
  {
    uuid: 'GPU-6f1c2a3b-0000-4000-8000-000000000001',
    name: 'NVIDIA L40S',
    memoryMib: 46_068,
  },
  {
    uuid: 'GPU-6f1c2a3b-0000-4000-8000-000000000002',
    name: 'NVIDIA A100-SXM4-80GB',
    memoryMib: 81_920,
    slices: [
      {
        uuid: 'MIG-7a2d3b4c-0000-5000-8000-000000000001',
        profile: '3g.40gb',
        memoryMib: 40_192,
      },
      {
        uuid: 'MIG-7a2d3b4c-0000-5000-8000-000000000002',
        profile: '1g.10gb',
        memoryMib: 9_728,
      },
    ],
  },
];

/** Never half a file for who reads it meanwhile. */
async function replace(path: string, text: string): Promise<void> {
  const draft = `${path}.${process.pid}.${(drafts += 1)}`;
  await writeFile(draft, text);
  await rename(draft, path);
}

let drafts = 0;

/** Old names of slices have slashes. */
function fileOf(uuid: string): string {
  return uuid.replaceAll('/', '_');
}
