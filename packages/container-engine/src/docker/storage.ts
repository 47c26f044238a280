import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import type { ContainerStorage } from '../container-engine.js';
import { EngineError } from '../engine-error.js';
import { boundedCall, dialStream, type EngineConnection } from './connection.js';

/**
 * The engine measures a container's layer by itself, but volumes only all at once. Before API 1.42 it
 * walks through all images and containers then as well (50,000 files: 0.1 s).
 */
export async function measureStorage(
  connection: EngineConnection,
  containers: readonly string[],
  signal: AbortSignal,
): Promise<ContainerStorage[]> {
  if (containers.length === 0) return [];
  const { docker, deadlines } = connection;
  const found = (await boundedCall(
    'sizes of containers',
    deadlines.slowCallMs,
    signal,
    (abortSignal) =>
      docker.listContainers({
        all: true,
        size: true,
        filters: { id: [...containers] },
        abortSignal,
      }),
  )) as unknown as DockerContainer[];
  const sizes = await measureVolumes(connection, signal);
  return found.map(({ Id, SizeRw, Mounts }) => ({
    id: Id,
    layerBytes: measured(SizeRw ?? 0),
    volumes: Mounts.filter(({ Type, RW }) => Type === 'volume' && RW).map(
      ({ Name = '', Destination }) => ({
        volume: Name,
        path: Destination,
        bytes: sizes.get(Name),
      }),
    ),
  }));
}

export async function measureVolumes(
  connection: EngineConnection,
  signal: AbortSignal,
): Promise<Map<string, number | undefined>> {
  const { slowCallMs } = connection.deadlines;
  return boundedCall('sizes of volumes', slowCallMs, signal, (bounded) =>
    askForSizes(connection, bounded),
  );
}

/** The engine says -1 when it failed. */
function measured(bytes: number): number | undefined {
  return bytes < 0 ? undefined : bytes;
}

/** Older engines refuse a second such question while they work on one: it is asked again. */
async function askForSizes(
  connection: EngineConnection,
  signal: AbortSignal,
): Promise<Map<string, number | undefined>> {
  // `verbose` is what newer engines need to name each volume; older ones pass over what they do not know.
  const query = { type: 'volume', verbose: '1' };
  for (;;) {
    try {
      const answer = await dialStream(
        connection,
        { method: 'GET', path: '/system/df', query },
        signal,
      );
      const chunks: Buffer[] = [];
      for await (const chunk of answer) chunks.push(chunk as Buffer);
      return sizesIn(JSON.parse(Buffer.concat(chunks).toString()) as DiskUsage);
    } catch (error) {
      if (!/already running/i.test(String(error))) throw error;
    }
    await sleep(busyPauseMs, undefined, { signal });
  }
}

const busyPauseMs = 250;

/** Throws `failed` for an answer in a form that is not known: silence would pass for empty volumes. */
function sizesIn({
  Volumes,
  VolumeUsage,
  VolumesUsage,
}: DiskUsage): Map<string, number | undefined> {
  const listed = (VolumeUsage ?? VolumesUsage)?.Items ?? Volumes;
  if (listed === undefined) {
    throw new EngineError('failed', 'sizes of volumes: the engine does not tell them.');
  }
  return new Map(
    (listed ?? []).map(({ Name, UsageData }) => [Name, measured(UsageData?.Size ?? -1)]),
  );
}

interface DockerContainer {
  Id: string;
  /** Absent when it is 0. */
  SizeRw?: number;
  Mounts: Pick<Docker.ContainerInfo['Mounts'][number], 'Name' | 'Type' | 'Destination' | 'RW'>[];
}

/** In the form before API 1.52, and the one since, of which the documents and engines know two names. */
interface DiskUsage {
  Volumes?: DockerVolumeSize[] | null;
  VolumeUsage?: { Items?: DockerVolumeSize[] | null };
  VolumesUsage?: { Items?: DockerVolumeSize[] | null };
}

interface DockerVolumeSize {
  Name: string;
  UsageData?: { Size: number } | null;
}
