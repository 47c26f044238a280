import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { newOperatorToken, rpcGatewayToken } from '@inference-server/service-kit';
import { freePort, startApp } from '@inference-server/testing';
import { startPrivateApi } from './private-api.js';

/** The gateway as a process of its own, and private-api for it. Anonymous callers may submit. */
export async function startGatewayProcess(settings: Record<string, string> = {}) {
  const api = await startPrivateApi(rpcGatewayToken(newOperatorToken()));
  const ports = { grpc: await freePort(), http: await freePort() };
  const gateway = await startApp({
    app: 'rpc-gateway',
    settings: {
      GRPC_PORT: String(ports.grpc),
      HTTP_PORT: String(ports.http),
      PRIVATE_API_URL: api.url,
      RPC_GATEWAY_TOKEN: api.token,
      ANONYMOUS_ROLE: 'submit',
      LOG_LEVEL: 'warn',
      ...settings,
    },
    ready: `http://127.0.0.1:${ports.http}/readyz`,
  });

  /** Resident memory, now and at its highest (MiB). */
  async function residentMib(): Promise<{ now: number; peak: number }> {
    const status = await readFile(`/proc/${gateway.pid}/status`, 'utf8');
    const of = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
    return { now: of('VmRSS'), peak: of('VmHWM') };
  }

  return {
    ...{ api, gateway, address: `127.0.0.1:${ports.grpc}`, residentMib },

    /** What is resident once it is as little as that (MiB), or after 10 s. */
    async residentAtRest(wantedMib: number): Promise<number> {
      let now = Infinity;
      for (let n = 0; n < 20 && now > wantedMib; n += 1) {
        await sleep(500);
        ({ now } = await residentMib());
      }
      return now;
    },
  };
}
