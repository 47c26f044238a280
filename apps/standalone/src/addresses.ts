import type { StandaloneConfig } from './config.js';

export interface Addresses {
  publicApi: string;
  privateApi: string;
}

export function addressesOf({ host, publicApiPort, privateApiPort }: StandaloneConfig): Addresses {
  const name = host.includes(':') ? `[${host}]` : host;
  return {
    publicApi: `http://${name}:${publicApiPort}`,
    privateApi: `http://${name}:${privateApiPort}`,
  };
}
