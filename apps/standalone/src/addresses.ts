import type { StandaloneConfig } from './config.js';

export interface Addresses {
  publicApi: string;
  privateApi: string;
  /** host:port, as gRPC clients are given it. */
  grpc: string;
  /** tcp://host:port, as ZeroRPC clients are given it. */
  zerorpc: string;
}

/** Where the services are for this machine. */
export function addressesOf({
  host,
  publicApiPort,
  privateApiPort,
  grpcPort,
  zerorpc,
}: Pick<
  StandaloneConfig,
  'host' | 'publicApiPort' | 'privateApiPort' | 'grpcPort' | 'zerorpc'
>): Addresses {
  return {
    publicApi: `http://${nameOf(host)}:${publicApiPort}`,
    privateApi: `http://${privateHost}:${privateApiPort}`,
    grpc: `${nameOf(host)}:${grpcPort}`,
    zerorpc: `tcp://${nameOf(zerorpc.host)}:${zerorpc.port}`,
  };
}

/** private-api is for this machine alone, wherever public-api is reached. */
export const privateHost = '127.0.0.1';

function nameOf(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1';
  return host.includes(':') ? `[${host}]` : host;
}
