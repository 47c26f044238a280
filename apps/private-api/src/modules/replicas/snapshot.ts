import { createHash } from 'node:crypto';
import {
  couldRun,
  needsInWords,
  usualRights,
  type Capacity,
  type GatewayNews,
  type HostedModel,
  type ReplicaOrder,
  type Rights,
} from '@inference-server/contracts';
import type { HostedRow, ReplicaRow } from './repository.js';

/** What all who wait are told, by one look at the rows. */
export interface ReplicaSnapshot {
  news: Omit<GatewayNews, 'models'>;
  models: HostedModel[];
  /** By consumer. */
  orders: ReadonlyMap<string, ReplicaOrder[]>;
}

/** Of nothing but the rows, so that a revision is the same in every process. */
export function toSnapshot(rows: {
  replicas: readonly ReplicaRow[];
  hosted: readonly HostedRow[];
  consumers: readonly Capacity[];
}): ReplicaSnapshot {
  const models = rows.hosted.map(toHostedModel);
  const replicas = rows.replicas.flatMap(({ id, model_version_id, state, address }) =>
    state === 'READY' && address !== null ? [{ id, model_version_id, address }] : [],
  );
  const trouble = rows.hosted.flatMap((hosted) => {
    const detail = troubleOf(hosted, rows);
    return detail === undefined ? [] : [{ model_version_id: hosted.model_version_id, detail }];
  });
  const orders = new Map<string, ReplicaOrder[]>();
  for (const row of rows.replicas) {
    orders.set(row.consumer_id, [...(orders.get(row.consumer_id) ?? []), toOrder(row)]);
  }
  return {
    news: {
      revision: revisionOf({ replicas, trouble }),
      models_revision: revisionOf(models),
      replicas,
      trouble,
    },
    models,
    orders,
  };
}

/** Names what was said: another is another revision. */
export function revisionOf(said: unknown): string {
  return createHash('sha256').update(JSON.stringify(said)).digest('base64url').slice(0, 22);
}

/** Why a version has no replica that serves, for whoever waits for one. */
function troubleOf(
  hosted: HostedRow,
  { replicas, consumers }: { replicas: readonly ReplicaRow[]; consumers: readonly Capacity[] },
): string | undefined {
  const own = replicas.filter((r) => r.model_version_id === hosted.model_version_id);
  if (!hosted.is_current || own.some(({ state }) => state === 'READY')) return undefined;
  const { last_failure: failure, needs } = hosted;
  if (failure !== null) {
    const exit = failure.exit_code === null ? '' : `, exit code ${failure.exit_code}`;
    const memory = failure.out_of_memory ? ', out of memory' : '';
    const detail = failure.detail === null ? '' : `: ${failure.detail}`;
    return `Its last replica failed (${failure.end_reason}${exit}${memory})${detail}`;
  }
  if (!couldRun(needs, consumers, 'runtime')) {
    return `No consumer that is there could host it: it needs ${needsInWords(needs)}.`;
  }
  return hosted.has_no_room ? 'There is no room for it now.' : undefined;
}

function toHostedModel(row: HostedRow): HostedModel {
  const { model_version_id, human_readable_id, version, description, is_current, contract } = row;
  const { target_in_flight, max_batch_size, max_delay_ms } = row;
  return {
    ...{ model_version_id, human_readable_id, version, description, is_current, contract },
    ...{ target_in_flight, max_batch_size, max_delay_ms },
  };
}

function toOrder(row: ReplicaRow): ReplicaOrder {
  const { id, model_version_id, human_readable_id, version, container_tag, pull_policy } = row;
  const { needs, lenders, contract, has_contract_file, has_served } = row;
  const rights: Rights = { ...usualRights, ...row.rights };
  return {
    ...{ id, model_version_id, human_readable_id, version, container_tag, pull_policy },
    ...{ needs, rights, lenders, contract, has_contract_file, has_served },
    wanted: row.state === 'STOPPING' ? 'stop' : 'run',
    model_files:
      row.files_sha256 === null
        ? null
        : { sha256: row.files_sha256, bytes: Number(row.files_bytes) },
  };
}
