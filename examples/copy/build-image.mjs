import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { buildFromFiles, busyboxRootfs, file } from '@inference-server/example-image-import';

/**
 * Makes the image without a registry; does nothing when the engine has it already.
 *
 * @param {{ dockerHost: string, signal: AbortSignal }} options
 * @returns {Promise<string>} the image's tag
 */
export async function buildImage({ dockerHost, signal }) {
  const script = await readFile(new URL('copy.sh', import.meta.url));
  return buildFromFiles({
    tag: 'inference-server/copy:1',
    entries: [...(await busyboxRootfs({ signal })), file('copy.sh', script)],
    changes: ['CMD ["sh", "/copy.sh"]', 'ENV PATH=/bin'],
    dockerHost,
    signal,
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dockerHost = process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
  console.log(await buildImage({ dockerHost, signal: AbortSignal.timeout(120_000) }));
}
