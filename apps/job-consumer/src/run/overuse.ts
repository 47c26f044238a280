import type { ContainerStorage } from '@inference-server/container-engine';
import type { AttemptRun } from './attempt-run.js';

/** Resolves once the container has written more to the engine's disk than it may, with what is wrong. */
export async function overuseOf(
  { settings, storageWatch }: AttemptRun,
  container: string,
  signal: AbortSignal,
): Promise<{ reason: 'bad_output' | 'out_of_disk'; detail: string }> {
  const { maxOutputBytes, maxScratchBytes } = settings;
  const storage = await storageWatch.untilTooMuch(
    container,
    (found) => outputBytes(found) > maxOutputBytes || scratchBytes(found) > maxScratchBytes,
    signal,
  );
  if (outputBytes(storage) > maxOutputBytes) {
    const detail = `The run was stopped: /output held too many bytes (allowed: ${maxOutputBytes}).`;
    return { reason: 'bad_output', detail };
  }
  const detail = `The run was stopped: it wrote too many bytes outside /output (allowed: ${maxScratchBytes}).`;
  return { reason: 'out_of_disk', detail };
}

function outputBytes({ volumes }: ContainerStorage): number {
  return volumes.find(({ path }) => path === '/output')?.bytes ?? 0;
}

/** In its layer, and in the volumes that its image declares. */
function scratchBytes({ layerBytes, volumes }: ContainerStorage): number {
  const others = volumes.filter(({ path }) => path !== '/output');
  return others.reduce((total, { bytes }) => total + bytes, layerBytes);
}
