import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import {
  buildFromFiles,
  directory,
  file,
  nodeRootfs,
} from '@inference-server/example-image-import';

/**
 * Makes the image without a registry, around the node that runs this; does nothing when the engine
 * has it already. The bundle must have been built.
 *
 * @param {{ dockerHost: string, signal: AbortSignal }} options
 * @returns {Promise<string>} the image's tag
 */
export async function buildImage({ dockerHost, signal }) {
  const bundle = await readFile(new URL('dist/histogram.cjs', import.meta.url)).catch((cause) => {
    throw new Error('The bundle is missing: npm run build -w examples/histogram', {
      cause,
    });
  });
  return buildFromFiles({
    tag: 'inference-server/histogram:1',
    entries: [
      ...(await nodeRootfs({ signal })),
      directory('app'),
      file('app/histogram.cjs', bundle),
    ],
    // Not root, on purpose: /output belongs to whomever the image runs as.
    changes: ['CMD ["node", "/app/histogram.cjs"]', 'USER 1000', 'ENV PATH=/usr/bin'],
    dockerHost,
    signal,
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dockerHost = process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
  console.log(await buildImage({ dockerHost, signal: AbortSignal.timeout(120_000) }));
}
