import type { StandaloneConfig } from './config.js';

export interface Addresses {
  publicApi: string;
  privateApi: string;
}

/** Where the services are for this machine. */
export function addressesOf({
  host,
  publicApiPort,
  privateApiPort,
}: Pick<StandaloneConfig, 'host' | 'publicApiPort' | 'privateApiPort'>): Addresses {
  return {
    publicApi: `http://${nameOf(host)}:${publicApiPort}`,
    privateApi: `http://${privateHost}:${privateApiPort}`,
  };
}

/** private-api is for this machine alone, wherever public-api is reached. */
export const privateHost = '127.0.0.1';

function nameOf(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1';
  return host.includes(':') ? `[${host}]` : host;
}
