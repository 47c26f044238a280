import {
  renewHeldMs,
  replicaNewsHeldS,
  type GatewayNews,
  type GatewayReport,
  type ReplicaDetails,
  type ReplicaOrders,
  type ReplicaReport,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { joinSignals, type Logger, type SendableBlob } from '@inference-server/service-kit';
import type { Channel } from '../../database/changes.js';
import type { BlobService } from '../blobs/service.js';
import type { ConsumerRepository } from '../consumers/repository.js';
import { modelNotFound, type ModelRepository } from '../models/repository.js';
import { createFreshReader } from './fresh-reader.js';
import { createKnownContracts } from './known-contracts.js';
import type { Refusal, ReplicaRepository } from './repository.js';
import { noOrders, toSnapshot, type ReplicaSnapshot } from './snapshot.js';

export type ReplicaService = ReturnType<typeof createReplicaService>;

/**
 * What consumers and gateways say of replicas, and what they are told of them. Who asks is told all that there
 * is for it now, and held as long as that is what it was told before.
 */
export function createReplicaService(deps: {
  replicas: ReplicaRepository;
  consumers: Pick<ConsumerRepository, 'capacities'>;
  models: Pick<ModelRepository, 'find' | 'requireOwner'>;
  blobs: Pick<BlobService, 'sendable'>;
  changes: Channel;
  leaseMs: number;
  logger: Logger;
}) {
  const { replicas, consumers, models, blobs, changes, leaseMs, logger } = deps;
  /** Several reports must come within a lease. */
  const heldForMs = Math.min(replicaNewsHeldS * 1000, renewHeldMs(leaseMs));

  const contractsOf = createKnownContracts(replicas.contracts);

  /**
   * A gateway may use what it is told of from then on: so it is read after its report was noted, by which it is
   * known what it holds.
   */
  const look = createFreshReader(async () => {
    const [living, hosted, batchModels, there] = await Promise.all([
      replicas.living(),
      replicas.hosted(),
      replicas.batchModels(),
      consumers.capacities(),
    ]);
    const ids = [...living, ...hosted].map(({ model_version_id: id }) => id);
    const contracts = await contractsOf(new Set(ids));
    return toSnapshot({ replicas: living, hosted, batchModels, consumers: there, contracts });
  });

  /** What there is, when it is news, or when the time is over that one is held: that does without being woken. */
  const held = async <Answer>(
    answerOf: (snapshot: ReplicaSnapshot) => Answer,
    isNews: (answer: Answer) => boolean,
    signal: AbortSignal,
  ): Promise<Answer> => {
    const over = joinSignals(signal, AbortSignal.timeout(heldForMs));
    const watch = changes.watch();
    try {
      for (;;) {
        const answer = answerOf(await look());
        if (isNews(answer) || over.signal.aborted || watch.isLetGo) return answer;
        await watch.next(over.signal);
      }
    } finally {
      over.release();
      watch.close();
    }
  };

  return {
    /**
     * Throws CONSUMER_EXISTS when another process is the consumer, or it has signed off; DEVICE_TAKEN where it is
     * gone since another one has its device.
     */
    async report(
      consumerId: string,
      told: ReplicaReport,
      signal: AbortSignal,
    ): Promise<ReplicaOrders> {
      const ended = await replicas.report(consumerId, told);
      if (typeof ended === 'string') throw new AppError(ended, whyRefused[ended]);
      for (const { reason, ...replica } of ended) {
        if (reason === 'stopped') logger.info({ ...replica, reason }, 'a replica has ended');
        else logger.warn({ ...replica, reason }, 'a replica has failed');
      }
      const ordersFor = ({ orders }: ReplicaSnapshot): ReplicaOrders => ({
        ...(orders.get(consumerId) ?? noOrders),
        lease_ms: leaseMs,
      });
      return held(ordersFor, ({ revision }) => revision !== told.revision, signal);
    },

    /** The zip with the files of the model. Throws CONFLICT for what is not to run there. */
    async modelFiles(
      consumerId: string,
      replica: { replicaId: string; holder: string },
      signal: AbortSignal,
    ): Promise<SendableBlob> {
      const files = await replicas.modelFiles(consumerId, replica);
      if (files === undefined) throw new AppError('CONFLICT', 'The replica is not to run there.');
      if (files === null) throw new AppError('OUTPUT_NOT_FOUND', 'The model has no files.');
      return blobs.sendable(files, signal);
    },

    async sync(gatewayId: string, told: GatewayReport, signal: AbortSignal): Promise<GatewayNews> {
      await replicas.noteGateway(gatewayId, told);
      const hasModels = ({ models_revision: revision }: GatewayNews) =>
        revision === told.models_revision;
      const newsFor = ({ news, models: hosted, batchModels }: ReplicaSnapshot): GatewayNews =>
        hasModels(news) ? news : { ...news, models: hosted, batch_models: [...batchModels] };
      const isNews = (news: GatewayNews) => news.revision !== told.revision || !hasModels(news);
      return held(newsFor, isNews, signal);
    },

    /** Of a model that is of `onlyOf` (null: anybody's): else FORBIDDEN. Throws MODEL_NOT_FOUND. */
    async list(humanReadableId: string, onlyOf: string | null): Promise<ReplicaDetails[]> {
      if ((await models.find(humanReadableId)) === undefined) throw modelNotFound();
      await models.requireOwner(humanReadableId, onlyOf);
      return replicas.ofModel(humanReadableId);
    },
  };
}

const whyRefused: Record<Refusal, string> = {
  CONSUMER_EXISTS: 'Another process is this consumer, or it has signed off.',
  DEVICE_TAKEN: 'Another consumer has its device.',
};
