import { request } from 'node:http';

/** Where to send HTTP requests for an engine, in the words of node's http module. */
export type DockerAddress = { socketPath: string } | { host: string; port: number };

/** Reads a DOCKER_HOST; undefined for a form that we do not speak (ssh, npipe, nonsense). */
export function dockerAddress(dockerHost: string): DockerAddress | undefined {
  if (dockerHost.startsWith('unix://')) return { socketPath: dockerHost.slice('unix://'.length) };
  const [, host, port] =
    /^(?:tcp|http):\/\/(\[[^\]]+\]|[^:/]+):(\d{1,5})\/?$/.exec(dockerHost) ?? [];
  if (host === undefined || port === undefined) return undefined;
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
}

/**
 * Whether a docker engine answers at `dockerHost` within `timeoutMs`. The engine is asked itself: a
 * docker command on the PATH, or a socket file, proves nothing.
 */
export async function askDockerEngine(dockerHost: string, timeoutMs = 2_000): Promise<boolean> {
  const address = dockerAddress(dockerHost);
  if (address === undefined) return false;
  return await new Promise((resolve) => {
    const call = request({
      ...address,
      path: '/_ping',
      agent: false,
      signal: AbortSignal.timeout(timeoutMs),
    });
    call.once('error', () => resolve(false));
    call.once('response', (response) => {
      response.resume();
      // Some other server may live at the address: only an engine names its API version.
      resolve(response.statusCode === 200 && response.headers['api-version'] !== undefined);
    });
    call.end();
  });
}
