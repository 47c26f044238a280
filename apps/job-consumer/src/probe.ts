import {
  EngineError,
  probeContainer,
  type ContainerEngine,
  type ContainerLimits,
  type Labels,
} from '@inference-server/container-engine';
import { requireEmptyImage } from './empty-image.js';
import { requireMounted } from './model-volume.js';
import type { Kind } from './names.js';
import { uncut } from './uncut.js';

/** What the container of a probe is to have. */
export interface Probe {
  name: string;
  labels: Labels;
  gpus: readonly string[];
  /** By which models' containers are run; undefined: the engine's default. */
  runtime?: string | undefined;
  limits: ContainerLimits;
  /** Volumes that the engine has: by name, of which kind each is. */
  volumes: Readonly<Record<string, Kind>>;
  /** To be awaited right before it is created. */
  requireLease?: () => Promise<void>;
}

/**
 * Throws what keeps this consumer from starting containers; `volume_absent` when one of the volumes
 * has gone. One is started of an image that holds next to nothing. Its program is missing, which the
 * engine finds out only after all that it does itself, the device's hook among it, has worked.
 */
export async function probeStart(
  engine: ContainerEngine,
  { volumes, requireLease, runtime, ...wants }: Probe,
  signal: AbortSignal,
): Promise<void> {
  await engine.ping(signal);
  const image = await requireEmptyImage(engine);
  await requireLease?.();
  const spec = probeContainer({
    ...wants,
    image,
    volumes: Object.keys(volumes),
    sandbox: { runtime },
  });
  const container = await engine.createContainer(spec, uncut);
  try {
    await requireMounted(engine, container, volumes);
    const start = await engine.startContainer(container, uncut);
    if (!start.started) throw new EngineError('failed', start.startError);
  } finally {
    // What it has shown it has shown: one that stays is taken by the next look for what was left.
    await engine.removeContainer(container, uncut).catch(() => undefined);
  }
}
