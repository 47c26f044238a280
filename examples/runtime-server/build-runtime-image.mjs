import { readFile } from 'node:fs/promises';
import {
  buildFromFiles,
  directory,
  file,
  nodeRootfs,
} from '@inference-server/example-image-import';

/**
 * Makes the image of an example's bundle without a registry, around the node that runs this; does nothing
 * when the engine has it already.
 *
 * @param {{ name: string, bundle: URL, dockerHost: string, signal: AbortSignal }} options
 * @returns {Promise<string>} the image's tag
 */
export async function buildRuntimeImage({ name, bundle, dockerHost, signal }) {
  const content = await readFile(bundle).catch((cause) => {
    throw new Error(`The bundle is missing: npm run build -w examples/${name}`, { cause });
  });
  return buildFromFiles({
    tag: `inference-server/${name}:1`,
    entries: [...(await nodeRootfs({ signal })), directory('app'), file('app/model.cjs', content)],
    changes: ['CMD ["node", "/app/model.cjs"]', 'USER 1000', 'ENV PATH=/usr/bin', 'EXPOSE 9090'],
    dockerHost,
    signal,
  });
}
