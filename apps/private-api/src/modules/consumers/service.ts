import type { ConsumerRegistered, ConsumerRegistration } from '@inference-server/contracts';
import type { ConsumerRepository } from './repository.js';

export type ConsumerService = ReturnType<typeof createConsumerService>;

export function createConsumerService(deps: {
  consumers: ConsumerRepository;
  heartbeatIntervalMs: number;
  newInstallationId: () => string;
  /** Tells the dispatcher that there may be somebody to give tickets to. */
  onNews: () => void;
}) {
  let installationId: string | undefined;

  return {
    async register(id: string, registration: ConsumerRegistration): Promise<ConsumerRegistered> {
      installationId ??= await deps.consumers.installationId(deps.newInstallationId);
      const { isNews } = await deps.consumers.register(id, registration);
      if (isNews) deps.onNews();
      return {
        installation_id: installationId,
        heartbeat_interval_ms: deps.heartbeatIntervalMs,
      };
    },

    async signOff(id: string, holder: string): Promise<{ returned_tickets: number }> {
      return { returned_tickets: await deps.consumers.signOff(id, holder) };
    },
  };
}
