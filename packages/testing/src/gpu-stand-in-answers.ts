/** A GPU of the stand-in; with slices (even none) it is divided. */
export interface StandInGpu {
  uuid: string;
  name: string;
  memoryMib: number;
  slices?: StandInSlice[] | undefined;
  /** Percent. */
  utilization?: number;
  /** What must be done before it can be relied on, e.g. `Reset`. */
  recoveryAction?: string;
  /** What stands in place of all that could be told of it, e.g. `[GPU requires reset]`. */
  instead?: string | undefined;
}

/** What one process has of the memory of one GPU. */
export interface StandInProcess {
  pid: number;
  /** Of a process on a slice: its GPU. */
  gpu: string;
  memoryMib: number;
}

export interface StandInSlice {
  uuid: string;
  profile: string;
  memoryMib: number;
}

/** What nvidia-smi says, by the names of the files that its stand-in answers with. */
export function answersOf(
  gpus: readonly StandInGpu[],
  fallen: ReadonlyMap<string, { hidesOthers: boolean }>,
): Map<string, string> {
  const answering = gpus.filter(({ uuid }) => !fallen.has(uuid));
  const answers = new Map([
    ['utilization', utilizationOf(answering)],
    ['details', detailsOf(answering)],
  ]);
  if (gpus.length > 0) answers.set('list.all', listOf(gpus));
  for (const [at, gpu] of gpus.entries()) {
    answers.set(`report.${gpu.uuid}`, reportOf(gpu)).set(`list.${at}`, listOf([gpu]));
    answers.set(`name.${at}`, `${gpu.uuid}, ${gpu.name}\n`);
    if (!fallen.has(gpu.uuid)) continue;
    const words = `Unable to determine the device handle for GPU${at}: Unknown Error\n`;
    answers.set(`failure.${at}`, words).set('failure.all', words);
    if (fallen.get(gpu.uuid)?.hidesOthers === true) answers.set('mute', '');
  }
  return answers;
}

/** In the form of `nvidia-smi -q -x`, as far as anybody reads it. */
function reportOf({ uuid, slices }: StandInGpu): string {
  const devices = slices?.map(sliceOf).join('') ?? '';
  return `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
	<driver_version>${driver}</driver_version>
	<attached_gpus>1</attached_gpus>
	<gpu id="00000000:01:00.0">
		<mig_devices>
${devices === '' ? '\t\t\tNone\n' : devices}		</mig_devices>
		<uuid>${uuid}</uuid>
	</gpu>
</nvidia_smi_log>
`;
}

function sliceOf({ memoryMib }: StandInSlice, index: number): string {
  return `			<mig_device>
				<index>${index}</index>
				<gpu_instance_id>${index + 1}</gpu_instance_id>
				<compute_instance_id>0</compute_instance_id>
				<fb_memory_usage><total>${memoryMib} MiB</total></fb_memory_usage>
			</mig_device>
`;
}

/** In the form of `nvidia-smi -L`. */
function listOf(gpus: readonly StandInGpu[]): string {
  return gpus
    .flatMap(({ uuid, name, slices = [] }, at) => [
      `GPU ${at}: ${name} (UUID: ${uuid})\n`,
      ...slices.map(
        (slice, index) =>
          `  MIG ${slice.profile.padEnd(12)} Device ${`${index}`.padStart(2)}: (UUID: ${slice.uuid})\n`,
      ),
    ])
    .join('');
}

/** In the form of `--query-gpu=uuid,memory.total,driver_version,mig.mode.current,gpu_recovery_action`. */
function detailsOf(gpus: readonly StandInGpu[]): string {
  return gpus
    .map(({ uuid, memoryMib, slices, recoveryAction = 'None', instead }) => {
      const mode = slices === undefined ? 'Disabled' : 'Enabled';
      const fields = [memoryMib, driver, mode, recoveryAction].map((field) => instead ?? field);
      return `${[uuid, ...fields].join(', ')}\n`;
    })
    .join('');
}

const driver = '550.90.07';

/** In the form of `--query-compute-apps=gpu_uuid,pid,used_memory --format=csv,noheader,nounits`. */
export function processesOf(processes: readonly StandInProcess[]): string {
  return processes.map(({ gpu, pid, memoryMib }) => `${gpu}, ${pid}, ${memoryMib}\n`).join('');
}

/** In the form of `--query-gpu=uuid,utilization.gpu --format=csv,noheader,nounits`. */
function utilizationOf(gpus: readonly StandInGpu[]): string {
  return gpus
    .map(({ uuid, slices, utilization = 0 }) =>
      slices === undefined ? `${uuid}, ${utilization}\n` : `${uuid}, [N/A]\n`,
    )
    .join('');
}
