import { setTimeout as sleep } from 'node:timers/promises';
import {
  isEngineProblem,
  type ContainerEngine,
  type EngineDescription,
} from '@inference-server/container-engine';
import type { Config } from '../config.js';
import type { DeviceTrouble, GpuSource } from '../devices/gpu-source.js';

/** Sees whether a running container still has its devices. Never fails. */
export interface DeviceWatch {
  /** Looks again and again, until `signal` aborts. */
  watch(container: string, signal: AbortSignal): void;
  /** What nvidia-smi said in the container when last looked at; undefined: it had them, or nobody could tell. */
  readonly trouble: string | undefined;
}

/**
 * A container can lose its devices alone: when systemd reloads, it takes them from containers that it does
 * not know to have any (NVIDIA/nvidia-container-toolkit#48). What has them open goes on; what opens one from then on
 * fails, and nothing outside tells why. So nvidia-smi is asked inside, where the vendor's toolkit has put it.
 */
export function createDeviceWatch(
  engine: Pick<ContainerEngine, 'runCommand'>,
  everyMs: number,
): DeviceWatch {
  let trouble: string | undefined;

  const look = async (
    container: string,
    signal: AbortSignal,
  ): Promise<'told' | 'untold' | 'over'> => {
    const end = await engine.runCommand(container, ['nvidia-smi', '-L'], limits, signal);
    if (end === undefined) return 'over';
    if (cannotRun.has(end.exitCode)) return 'untold';
    trouble = end.exitCode === 0 ? undefined : tellingWords.exec(end.output)?.[0];
    return 'told';
  };

  return {
    get trouble() {
      return trouble;
    },
    watch(container, signal) {
      const run = async () => {
        // One that does not end would be there once more with each look.
        for (let untold = 0; untold < mostUntold;) {
          await sleep(everyMs, undefined, { signal }).catch(() => undefined);
          if (signal.aborted) return;
          const how = await look(container, signal).catch((error: unknown) =>
            isEngineProblem(error, 'overdue') ? 'untold' : 'told',
          );
          if (how === 'over') return;
          untold = how === 'untold' ? untold + 1 : 0;
        }
      };
      void run();
    },
  };
}

/** Only systemd takes devices away from what runs. `setting`: GPU_CHECK_INSIDE. */
export function looksInside(
  setting: Config['GPU_CHECK_INSIDE'],
  { cgroupDriver }: Pick<EngineDescription, 'cgroupDriver'>,
): boolean {
  return setting === 'auto' ? cgroupDriver === 'systemd' : setting === 'always';
}

/**
 * Resolves once the driver does not know some of a run's devices any more, by two looks in a row: what computes on
 * a GPU that has fallen off its bus often hangs, and would until its time is over.
 */
export async function untilDeviceGone(
  gpuSource: Pick<GpuSource, 'periodicTroubleWith'>,
  { gpus, everyMs }: { gpus: readonly string[]; everyMs: number },
  signal: AbortSignal,
): Promise<DeviceTrouble> {
  for (let looks = 0; ;) {
    await sleep(everyMs, undefined, { signal });
    const trouble = await gpuSource.periodicTroubleWith(gpus, signal);
    looks = trouble?.areGone === true ? looks + 1 : 0;
    if (trouble !== undefined && looks > 1) return trouble;
  }
}

/** In a row. */
const mostUntold = 3;
const limits = { timeoutMs: 20_000, maxBytes: 64 * 1024 };

/** Of a shell, and of an engine: it is not there, or not to be run. */
const cannotRun = new Set([126, 127]);

/** Whatever else it fails with may be the image's own doing. */
const tellingWords =
  /[^\n]*(?:NVML: Unknown Error|unable to determine the device handle|GPU is lost|no devices (?:were )?found)[^\n]*/i;
