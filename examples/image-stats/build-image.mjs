import { fileURLToPath } from 'node:url';
import { buildRuntimeImage } from '@inference-server/example-runtime-server/build-runtime-image.mjs';

/**
 * Makes the image without a registry. The bundle must have been built.
 *
 * @param {{ dockerHost: string, signal: AbortSignal }} options
 * @returns {Promise<string>} the image's tag
 */
export function buildImage({ dockerHost, signal }) {
  const bundle = new URL('dist/main.cjs', import.meta.url);
  return buildRuntimeImage({ name: 'image-stats', bundle, dockerHost, signal });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dockerHost = process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
  console.log(await buildImage({ dockerHost, signal: AbortSignal.timeout(120_000) }));
}
