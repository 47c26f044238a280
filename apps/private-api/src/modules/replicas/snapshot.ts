import { createHash } from 'node:crypto';
import {
  couldRun,
  needsInWords,
  usualRights,
  type BatchModel,
  type Capacity,
  type GatewayNews,
  type HostedModel,
  type ModelContract,
  type ReplicaOrder,
  type ReplicaOrders,
  type Rights,
} from '@inference-server/contracts';
import type { HostedRow, ReplicaRow } from './repository.js';

type Orders = Pick<ReplicaOrders, 'revision' | 'replicas'>;

/** What all who wait are told, by one look at the rows. */
export interface ReplicaSnapshot {
  news: Omit<GatewayNews, 'models' | 'batch_models'>;
  models: HostedModel[];
  batchModels: readonly BatchModel[];
  /** By consumer. */
  orders: ReadonlyMap<string, Orders>;
}

/**
 * Of nothing but the rows, so that a revision is the same in every process. It names the versions, whose
 * contracts never change: those are not hashed with each news.
 */
export function toSnapshot(rows: {
  replicas: readonly ReplicaRow[];
  hosted: readonly HostedRow[];
  batchModels: readonly BatchModel[];
  consumers: readonly Capacity[];
  /** By version. */
  contracts: ReadonlyMap<string, ModelContract>;
}): ReplicaSnapshot {
  const { batchModels, consumers, contracts } = rows;
  const models = rows.hosted.map(toHostedModel);
  const replicas = rows.replicas.flatMap(({ id, model_version_id, state, address }) =>
    state === 'READY' && address !== null ? [{ id, model_version_id, address }] : [],
  );
  const serving = new Set(
    rows.replicas.flatMap(({ model_version_id: of, state }) => (state === 'READY' ? [of] : [])),
  );
  const trouble = rows.hosted.flatMap((hosted) => {
    const { model_version_id, is_current } = hosted;
    if (!is_current || serving.has(model_version_id)) return [];
    const detail = troubleOf(hosted, consumers);
    return detail === undefined ? [] : [{ model_version_id, detail }];
  });
  const ordered = new Map<string, ReplicaRow[]>();
  for (const row of rows.replicas) {
    const own = ordered.get(row.consumer_id);
    if (own === undefined) ordered.set(row.consumer_id, [row]);
    else own.push(row);
  }
  return {
    news: {
      revision: revisionOf({ replicas, trouble }),
      models_revision: revisionOf([models, batchModels]),
      replicas,
      trouble,
    },
    models: models.flatMap((model) => withContract(model, contracts)),
    batchModels,
    orders: new Map(
      [...ordered].map(([consumerId, own]) => [consumerId, toOrders(own, contracts)]),
    ),
  };
}

/** Of a consumer that is to have no replica. */
export const noOrders: Orders = { revision: revisionOf([]), replicas: [] };

/** Names what was said: another is another revision. */
function revisionOf(said: unknown): string {
  return createHash('sha256').update(JSON.stringify(said)).digest('base64url').slice(0, 22);
}

function toOrders(
  rows: readonly ReplicaRow[],
  contracts: ReadonlyMap<string, ModelContract>,
): Orders {
  const orders = rows.map(toOrder);
  return {
    revision: revisionOf(orders),
    replicas: orders.flatMap((order) => withContract(order, contracts)),
  };
}

function withContract<Of extends { model_version_id: string }>(
  of: Of,
  contracts: ReadonlyMap<string, ModelContract>,
): (Of & { contract: ModelContract })[] {
  const contract = contracts.get(of.model_version_id);
  return contract === undefined ? [] : [{ ...of, contract }];
}

/** Why a version has no replica that serves, for whoever waits for one. */
function troubleOf(
  { last_failure: failure, needs, has_no_room: hasNoRoom }: HostedRow,
  consumers: readonly Capacity[],
): string | undefined {
  if (failure !== null) {
    const exit = failure.exit_code === null ? '' : `, exit code ${failure.exit_code}`;
    const memory = failure.out_of_memory ? ', out of memory' : '';
    const detail = failure.detail === null ? '' : `: ${failure.detail}`;
    const what = hasNoRoom ? 'There is no room for it now, and its' : 'Its';
    return `${what} last replica failed (${failure.end_reason}${exit}${memory})${detail}`;
  }
  if (!couldRun(needs, consumers, 'runtime')) {
    return `No consumer that is there could host it: it needs ${needsInWords(needs)}.`;
  }
  return hasNoRoom ? 'There is no room for it now.' : undefined;
}

function toHostedModel(row: HostedRow): Omit<HostedModel, 'contract'> {
  const { model_version_id, human_readable_id, version, description, is_current } = row;
  const { target_in_flight, max_batch_size, max_delay_ms } = row;
  return {
    ...{ model_version_id, human_readable_id, version, description, is_current },
    ...{ target_in_flight, max_batch_size, max_delay_ms },
  };
}

function toOrder(row: ReplicaRow): Omit<ReplicaOrder, 'contract'> {
  const { id, model_version_id, human_readable_id, version, container_tag, pull_policy } = row;
  const { needs, lenders, has_contract_file, has_served } = row;
  const rights: Rights = { ...usualRights, ...row.rights };
  return {
    ...{ id, model_version_id, human_readable_id, version, container_tag, pull_policy },
    ...{ needs, rights, lenders, has_contract_file, has_served },
    wanted: row.state === 'STOPPING' ? 'stop' : 'run',
    model_files:
      row.files_sha256 === null
        ? null
        : { sha256: row.files_sha256, bytes: Number(row.files_bytes) },
  };
}
