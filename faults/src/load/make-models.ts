import { randomBytes } from 'node:crypto';
import AdmZip from 'adm-zip';
import { buildFromFiles, busyboxRootfs, file } from '@inference-server/example-image-import';
import { createClient } from '@inference-server/sdk';
import { moveToRegistry } from '../world/registry.js';
import type { World } from '../world/world.js';
import { modelNames, modelSettings, pulledImage } from './models.js';
import { modelWeights } from './task-kinds.js';

/** Of the image that is pulled: what no compression makes smaller. */
const ballastBytes = 20 * 1024 ** 2;

/**
 * Gives both engines the image of most models, the registry alone that of `pulled`, and registers every
 * model of the load.
 */
export async function makeModels(world: World, signal: AbortSignal): Promise<void> {
  const entries = await busyboxRootfs({ signal });
  const build = (name: string, socketPath: string, more: typeof entries = []) =>
    buildFromFiles({
      tag: `inference-server-faults/${name}:1`,
      entries: [...entries, ...more],
      changes: ['CMD ["sh", "/input/run.sh"]', 'ENV PATH=/bin'],
      dockerHost: `unix://${socketPath}`,
      signal,
    });
  let image = '';
  for (const { socketPath } of world.engines) image = await build('script', socketPath);
  for (const { socketPath } of world.engines.slice(0, 1)) {
    const built = await build('pulled', socketPath, [file('ballast', randomBytes(ballastBytes))]);
    await moveToRegistry(socketPath, built, pulledImage(world));
  }
  const client = createClient({ baseUrl: world.privateUrl, token: world.operatorToken });
  const files = new AdmZip();
  files.addFile('weights', modelWeights);
  for (const name of modelNames) {
    await client.postModel({
      human_readable_id: name,
      container_tag: name === 'pulled' ? pulledImage(world) : image,
      ...modelSettings[name],
      ...(name === 'with-files' && { zip: files.toBuffer() }),
    });
  }
}
