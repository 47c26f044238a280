import { probeContainer, type ContainerEngine } from '@inference-server/container-engine';
import { AppError } from '@inference-server/errors';
import type { Names } from './names.js';
import { uncut } from './uncut.js';

/**
 * Throws what keeps this consumer from starting containers with its device. One is started whose
 * program no image has: the engine finds that out only after all that it does itself, the device's
 * hook among it, has worked.
 */
export async function probeStart(
  { engine, names }: { engine: ContainerEngine; names: Names },
  { image, gpu, random }: { image: string; gpu: string | null; random: string },
  signal: AbortSignal,
): Promise<void> {
  await engine.ping(signal);
  const container = await engine.createContainer(
    probeContainer({ ...names.probe(random), image, gpu }),
    uncut,
  );
  try {
    const start = await engine.startContainer(container, uncut);
    if (!start.started && start.fault === 'engine') {
      throw new AppError('SERVICE_UNAVAILABLE', start.startError);
    }
  } finally {
    await engine.removeContainer(container, uncut);
  }
}
