import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';

/** An image registry with one small image, `model`, in two tags; it can lose the image's layer. */
export interface TinyRegistry {
  address: string;
  /** The paths that were asked for. */
  requests: string[];
  loseLayer(): void;
  /** From now on it answers only to this user. */
  demand(user: string, password: string): void;
  /** From now on it begins to send the layer and never ends. */
  stallLayer(): void;
  /** From now on it takes requests and never answers. */
  fallSilent(): void;
  close(): Promise<void>;
}

export async function startTinyRegistry(layerTar: Buffer): Promise<TinyRegistry> {
  const layer = gzipSync(layerTar);
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: { User: '7' },
      rootfs: { type: 'layers', diff_ids: [digestOf(layerTar)] },
    }),
  );
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: {
        mediaType: 'application/vnd.docker.container.image.v1+json',
        size: config.length,
        digest: digestOf(config),
      },
      layers: [
        {
          mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
          size: layer.length,
          digest: digestOf(layer),
        },
      ],
    }),
  );
  const blobs = new Map([config, layer].map((blob) => [digestOf(blob), blob]));
  const requests: string[] = [];
  let credentials: string | undefined;
  let silent = false;
  let stalled = false;
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    requests.push(path);
    if (silent) return;
    if (credentials !== undefined && request.headers.authorization !== credentials) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="tiny"' }).end(unauthorized);
      return;
    }
    const isManifest = /^\/v2\/model\/manifests\//.test(path);
    const blob = isManifest ? manifest : blobs.get(path.replace('/v2/model/blobs/', ''));
    if (path === '/v2/') response.writeHead(200).end('{}');
    else if (blob === undefined)
      response.writeHead(404, { 'content-type': 'application/json' }).end(unknown);
    else {
      response.writeHead(200, {
        'content-type': isManifest ? manifestType : 'application/octet-stream',
        'content-length': blob.length,
        'docker-content-digest': digestOf(blob),
      });
      if (stalled && blob === layer) response.write(blob.subarray(0, 10));
      else response.end(request.method === 'HEAD' ? undefined : blob);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    loseLayer: () => blobs.delete(digestOf(layer)),
    demand: (user, password) => {
      credentials = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    },
    stallLayer: () => {
      stalled = true;
    },
    fallSilent: () => {
      silent = true;
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

const manifestType = 'application/vnd.docker.distribution.manifest.v2+json';

const unknown = JSON.stringify({
  errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown', detail: {} }],
});

const unauthorized = JSON.stringify({
  errors: [{ code: 'UNAUTHORIZED', message: 'authentication required', detail: null }],
});

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
