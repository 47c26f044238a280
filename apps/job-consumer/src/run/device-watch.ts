import { setTimeout as sleep } from 'node:timers/promises';
import { isEngineProblem, type ContainerEngine } from '@inference-server/container-engine';

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

  /** False: there is no use in looking again. */
  const look = async (container: string, signal: AbortSignal): Promise<boolean> => {
    const end = await engine.runCommand(container, ['nvidia-smi', '-L'], limits, signal);
    if (end === undefined || cannotRun.has(end.exitCode)) return false;
    trouble = end.exitCode === 0 ? undefined : tellingWords.exec(end.output)?.[0];
    return true;
  };

  return {
    get trouble() {
      return trouble;
    },
    watch(container, signal) {
      const run = async () => {
        for (let goesOn = true; goesOn;) {
          await sleep(everyMs, undefined, { signal }).catch(() => undefined);
          if (signal.aborted) return;
          // One that does not end would be there once more with each look.
          goesOn = await look(container, signal).catch(
            (error: unknown) => !isEngineProblem(error, 'overdue'),
          );
        }
      };
      void run();
    },
  };
}

const limits = { timeoutMs: 20_000, maxBytes: 64 * 1024 };

/** Of a shell, and of an engine: it is not there, or not to be run. */
const cannotRun = new Set([126, 127]);

/** Whatever else it fails with may be the image's own doing. */
const tellingWords =
  /[^\n]*(?:NVML: Unknown Error|unable to determine the device handle|GPU is lost|no devices were found)[^\n]*/i;
