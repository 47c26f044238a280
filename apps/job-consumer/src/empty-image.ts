import { Readable } from 'node:stream';
import { tarEnd, tarHeader } from '@inference-server/archive';
import type { ContainerEngine } from '@inference-server/container-engine';
import { helperImageName } from '@inference-server/contracts';
import { uncut } from './uncut.js';

/**
 * The image of every container of ours but a model's: it holds next to nothing, so nothing that an
 * image can do plays a part in them. Made when the engine does not have it, which needs no registry.
 */
export async function requireEmptyImage(engine: ContainerEngine): Promise<string> {
  // Two imports at once would leave an image without a name.
  let making = makings.get(engine);
  if (making === undefined) {
    making = makeUnlessThere(engine).finally(() => makings.delete(engine));
    makings.set(engine, making);
  }
  await making;
  return image;
}

/** Stays in the engine; all consumers share it. */
const image = `${helperImageName}:1`;

/** Under way now; whoever comes meanwhile waits for the same. */
const makings = new WeakMap<ContainerEngine, Promise<void>>();

async function makeUnlessThere(engine: ContainerEngine): Promise<void> {
  if ((await engine.inspectImage(image, uncut)) !== undefined) return;
  await engine.importImage(image, imageTar(), uncut);
}

/** The folder is for the hooks of devices: some want to write to it. */
function imageTar(): Readable {
  const folders = ['etc/', 'etc/ld.so.conf.d/'].map((name) =>
    tarHeader({ name, mode: 0o755, bytes: 0, modified: new Date(0) }),
  );
  return Readable.from([...folders, tarEnd], { objectMode: false });
}
