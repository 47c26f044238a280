/** A GPU of the stand-in; with slices (even none) it is divided. */
export interface StandInGpu {
  uuid: string;
  name: string;
  memoryMib: number;
  usedMib: number;
  slices?: StandInSlice[] | undefined;
}

export interface StandInSlice {
  uuid: string;
  profile: string;
  memoryMib: number;
  usedMib: number;
}

/** In the form of `nvidia-smi -q -x`, as far as anybody reads it. */
export function reportOf(gpus: readonly StandInGpu[]): string {
  return `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
	<driver_version>550.90.07</driver_version>
	<attached_gpus>${gpus.length}</attached_gpus>
${gpus.map(gpuOf).join('')}</nvidia_smi_log>
`;
}

/** In the form of `nvidia-smi -L`. */
export function listOf(gpus: readonly StandInGpu[]): string {
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

function gpuOf({ uuid, name, memoryMib, usedMib, slices }: StandInGpu, at: number): string {
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
		${memoryOf({ memoryMib, usedMib })}
		<utilization>
			<gpu_util>${slices === undefined ? '0 %' : 'N/A'}</gpu_util>
		</utilization>
	</gpu>
`;
}

function sliceOf(slice: StandInSlice, index: number): string {
  return `			<mig_device>
				<index>${index}</index>
				<gpu_instance_id>${index + 1}</gpu_instance_id>
				<compute_instance_id>0</compute_instance_id>
				${memoryOf(slice)}
			</mig_device>
`;
}

function memoryOf({ memoryMib, usedMib }: { memoryMib: number; usedMib: number }): string {
  return `<fb_memory_usage><total>${memoryMib} MiB</total><used>${usedMib} MiB</used></fb_memory_usage>`;
}
