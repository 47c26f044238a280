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

/** What nvidia-smi says: of all GPUs together, and of each alone by its number. */
export function answersOf(
  gpus: readonly StandInGpu[],
  fallen: ReadonlySet<string>,
): Map<string, string> {
  const answers = new Map([['utilization.all', utilizationOf(gpus)]]);
  if (gpus.length > 0) answers.set('report.all', reportOf(gpus)).set('list.all', listOf(gpus));
  for (const [at, gpu] of gpus.entries()) {
    answers.set(`report.${at}`, reportOf([gpu])).set(`list.${at}`, listOf([gpu]));
    if (!fallen.has(gpu.uuid)) continue;
    const words = `Unable to determine the device handle for GPU${at}: Unknown Error\n`;
    answers.set(`failure.${at}`, words).set('failure.all', words);
  }
  return answers;
}

/** In the form of `nvidia-smi -q -x`, as far as anybody reads it. */
function reportOf(gpus: readonly StandInGpu[]): string {
  return `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
	<driver_version>550.90.07</driver_version>
	<attached_gpus>${gpus.length}</attached_gpus>
${gpus.map(gpuOf).join('')}</nvidia_smi_log>
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

function gpuOf(gpu: StandInGpu, at: number): string {
  const { uuid, name, memoryMib, slices, recoveryAction = 'None' } = gpu;
  const mode = slices === undefined ? 'Disabled' : 'Enabled';
  const devices = slices?.map(sliceOf).join('') ?? '';
  return `	<gpu id="0000000${at}:01:00.0">
		<product_name>${name}</product_name>
		<mig_mode>
			<current_mig>${mode}</current_mig>
			<pending_mig>${mode}</pending_mig>
		</mig_mode>
		<mig_devices>
${devices === '' ? '\t\t\tNone\n' : devices}		</mig_devices>
		<uuid>${uuid}</uuid>
		${memoryOf(memoryMib)}
		<gpu_recovery_action>${recoveryAction}</gpu_recovery_action>
	</gpu>
`;
}

function sliceOf(slice: StandInSlice, index: number): string {
  return `			<mig_device>
				<index>${index}</index>
				<gpu_instance_id>${index + 1}</gpu_instance_id>
				<compute_instance_id>0</compute_instance_id>
				${memoryOf(slice.memoryMib)}
			</mig_device>
`;
}

function memoryOf(mib: number): string {
  return `<fb_memory_usage><total>${mib} MiB</total></fb_memory_usage>`;
}
