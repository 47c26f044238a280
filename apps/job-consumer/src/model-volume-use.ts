import type { ContainerEngine, Volume } from '@inference-server/container-engine';
import { labelNames, type Names } from './names.js';

export interface ModelUseDeps {
  engine: ContainerEngine;
  names: Names;
  now: () => Date;
}

/**
 * Notes that the files of a model version are used now, to the hour. No engine keeps the time of a
 * volume's last use, so a volume that holds nothing says it in a label: in the engine itself, where
 * all its consumers see it, and where it lasts as long as what it tells of.
 */
export async function noteModelUse(
  { engine, names, now }: ModelUseDeps,
  versionId: string,
  signal: AbortSignal,
): Promise<void> {
  const { use, useLabels } = names.model(versionId);
  const at = now();
  const noted = await engine.inspectVolume(use, signal);
  const before = noted && lastUse(noted);
  if (before !== undefined && Math.abs(at.getTime() - before.getTime()) < toTheMs) return;
  // A label cannot be changed. Who looks in between finds no time, which counts as now.
  if (noted !== undefined) await engine.removeVolume(use, signal);
  await engine.createVolume({ name: use, labels: useLabels(at) }, signal);
}

/** Undefined when the volume tells no time. */
export function lastUse({ labels }: Volume): Date | undefined {
  const time = new Date(labels[labelNames.usedAt] ?? '');
  return Number.isNaN(time.getTime()) ? undefined : time;
}

const toTheMs = 3_600_000;
