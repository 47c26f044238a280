import type { Labels, Volume } from '../container-engine.js';
import { isEngineProblem } from '../engine-error.js';
import { boundedCall, type EngineConnection } from './connection.js';
import { labelFilters } from './label-filters.js';

export async function createVolume(
  connection: EngineConnection,
  { name, labels }: Volume,
  signal: AbortSignal,
): Promise<void> {
  const { docker, deadlines } = connection;
  const create = () =>
    boundedCall(`volume ${name}`, deadlines.callMs, signal, (abortSignal) =>
      docker.createVolume({ Name: name, Driver: 'local', Labels: { ...labels }, abortSignal }),
    );
  await create();
  const found = await inspectVolume(connection, name, signal);
  if (found === undefined || hasLabels(found) || !hasLabels({ labels })) return;
  await removeVolume(connection, name, signal);
  await create();
}

export async function inspectVolume(
  { docker, deadlines }: EngineConnection,
  name: string,
  signal: AbortSignal,
): Promise<Volume | undefined> {
  try {
    const found = await boundedCall(`volume ${name}`, deadlines.callMs, signal, (abortSignal) =>
      docker.getVolume(name).inspect({ abortSignal }),
    );
    return toVolume(found);
  } catch (error) {
    if (isEngineProblem(error, 'volume_absent')) return undefined;
    throw error;
  }
}

export async function listVolumes(
  { docker, deadlines }: EngineConnection,
  labels: Labels,
  signal: AbortSignal,
): Promise<Volume[]> {
  const found = await boundedCall('list of volumes', deadlines.callMs, signal, (abortSignal) =>
    docker.listVolumes({ filters: labelFilters(labels), abortSignal }),
  );
  // The engine answers null, not an empty list.
  return ((found.Volumes as DockerVolume[] | null) ?? []).map(toVolume);
}

export async function removeVolume(
  { docker, deadlines }: EngineConnection,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    await boundedCall(`removal of volume ${name}`, deadlines.slowCallMs, signal, (abortSignal) =>
      docker.getVolume(name).remove({ abortSignal }),
    );
  } catch (error) {
    if (!isEngineProblem(error, 'volume_absent')) throw error;
  }
}

function hasLabels({ labels }: Pick<Volume, 'labels'>): boolean {
  return Object.keys(labels).length > 0;
}

interface DockerVolume {
  Name: string;
  Labels: Record<string, string> | null;
}

function toVolume({ Name, Labels }: DockerVolume): Volume {
  return { name: Name, labels: Labels ?? {} };
}
