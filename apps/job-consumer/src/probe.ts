import { Readable } from 'node:stream';
import { tarEnd, tarHeader } from '@inference-server/archive';
import {
  EngineError,
  probeContainer,
  type ContainerLimits,
} from '@inference-server/container-engine';
import type { ModelVolumeDeps } from './model-volume.js';
import { uncut } from './uncut.js';

/** What the container of a probe is to have. */
export interface ProbeWants {
  gpu: string | null;
  limits: ContainerLimits;
  /** Volumes that the engine has, by name. */
  volumes: readonly string[];
}

/**
 * Throws what keeps this consumer from starting containers. One is started of an image that holds
 * next to nothing, which is made when the engine does not have it: so nothing that an image can do
 * plays a part, and none needs to be there. Its program is missing, which the engine finds out only after all
 * that it does itself, the device's hook among it, has worked.
 */
export async function probeStart(
  { engine, names, newRandom }: Pick<ModelVolumeDeps, 'engine' | 'names' | 'newRandom'>,
  wants: ProbeWants,
  signal: AbortSignal,
): Promise<void> {
  await engine.ping(signal);
  if ((await engine.inspectImage(image, signal)) === undefined) {
    await engine.importImage(image, imageTar(), signal);
  }
  const probe = probeContainer({ ...names.probe(newRandom()), image, ...wants });
  const container = await engine.createContainer(probe, uncut);
  try {
    const start = await engine.startContainer(container, uncut);
    if (!start.started) throw new EngineError('failed', start.startError);
  } finally {
    await engine.removeContainer(container, uncut);
  }
}

/** Stays in the engine; all consumers share it. */
const image = 'inference-server/empty:1';

/** The folder is for the hooks of devices: some want to write to it. */
function imageTar(): Readable {
  const folders = ['etc/', 'etc/ld.so.conf.d/'].map((name) =>
    tarHeader({ name, mode: 0o755, bytes: 0, modified: new Date(0) }),
  );
  return Readable.from([...folders, tarEnd], { objectMode: false });
}
