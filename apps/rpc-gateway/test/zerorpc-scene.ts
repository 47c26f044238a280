import { expect } from 'vitest';
import type { ModelContract } from '@inference-server/contracts';
import { startPeers, type Peers } from '@inference-server/testing';
import type { RpcGatewayConfig } from '../src/config.js';
import { modelOf, type PrivateApi } from './private-api.js';
import { echo, readyAt, startReplica, startScene } from './scene.js';

/** The door for this machine alone, and for others. */
export const atHome = { host: '127.0.0.1', port: 0, isExposed: false };
export const exposed = { ...atHome, isExposed: true };

const fields: ModelContract['inputs'] = [
  { name: 'text', dtype: 'DT_STRING', shape: [] },
  { name: 'ids', dtype: 'DT_INT64', shape: [-1] },
];
export const contract: ModelContract = {
  signature_name: 'predict',
  inputs: fields,
  outputs: fields,
};
/** Its id has what no name of a method has. */
export const iris = modelOf(3, {
  human_readable_id: 'iris v1.2',
  description: 'Irises.',
  contract,
});
export const rose = modelOf(1, { human_readable_id: 'rose', contract });

/** An error, as its client gets it. */
export const errorOf = (name: string, text: unknown) => ({
  name: 'ERR',
  args: [name, text, expect.any(String) as unknown],
});

/** A value as its client gets it. */
export const okOf = (value: unknown) => ({ name: 'OK', args: [value] });

export interface Ask {
  (name: string, ...args: unknown[]): Promise<{ name: string; args: unknown }>;
}

/** The gateway with its door for ZeroRPC, two models that echo, and clients in Python. */
export async function startDoor(options: Partial<RpcGatewayConfig> = {}): Promise<{
  api: PrivateApi;
  port: number;
  peers: Peers;
  close: () => Promise<void>;
  /** One of the clients; what it sends has this in its header. */
  client: (number: number, header?: Record<string, unknown>) => Ask;
}> {
  const { api, gateway } = await startScene({ zerorpc: atHome, ...options });
  const replica = await startReplica(echo);
  api.tell({
    models: [iris, rose],
    replicas: [...readyAt(iris, replica.address), ...readyAt(rose, replica.address)],
  });
  const port = gateway.zerorpcPort!;
  const peers = await startPeers(port);
  return {
    ...{ api, port, peers, close: () => gateway.close() },
    client:
      (client, header = {}) =>
      async (method, ...args) => {
        const { name, args: answer } = await peers.next(
          peers.call(method, args, { client, header }),
          client,
        );
        return { name, args: answer };
      },
  };
}
