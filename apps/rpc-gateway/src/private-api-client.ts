import { Agent, request } from 'undici';
import {
  replicaNewsHeldS,
  routes,
  type GatewayNews,
  type GatewayReport,
} from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';

/** The gateway's side of the private contract. */
export interface PrivateApiClient {
  /** Held open by the server while there is nothing new. Throws SERVICE_UNAVAILABLE, or the signal's reason. */
  sync(report: GatewayReport, signal: AbortSignal): Promise<GatewayNews>;
  /** For what else is asked of private-api. */
  readonly agent: Agent;
  close(): Promise<void>;
}

/** Beyond the time for which an answer is held back on purpose. */
const answeredWithinMs = 10_000;

export function createPrivateApiClient(options: {
  url: string;
  token: string;
  gatewayId: string;
}): PrivateApiClient {
  const agent = new Agent({
    connect: { timeout: 5_000 },
    headersTimeout: replicaNewsHeldS * 1000 + answeredWithinMs,
    bodyTimeout: answeredWithinMs,
  });
  const path = routes.syncGateway.path.replace(':gateway_id', options.gatewayId);

  return {
    agent,
    async sync(report, signal) {
      try {
        const { statusCode, body } = await request(new URL(path, options.url), {
          method: routes.syncGateway.method,
          dispatcher: agent,
          headers: {
            authorization: `Bearer ${options.token}`,
            'content-type': 'application/json',
          },
          body: JSON.stringify(report),
          signal,
        });
        if (statusCode === 200) return (await body.json()) as GatewayNews;
        await body.dump();
        throw new AppError('SERVICE_UNAVAILABLE', `private-api answered ${statusCode}.`);
      } catch (error) {
        if (signal.aborted) throw signal.reason as Error;
        if (error instanceof AppError) throw error;
        const detail = `private-api does not answer: ${messageOf(error)}`;
        throw new AppError('SERVICE_UNAVAILABLE', detail, { cause: error });
      }
    },
    close: () => agent.destroy(),
  };
}
