import { setTimeout as sleep } from 'node:timers/promises';
import {
  routes,
  usualRights,
  type ModelContract,
  type ReplicaOrder,
  type ReplicaReport,
  type ReportedReplica,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { createHash, randomUUID } from 'node:crypto';
import { mountRoute, type createHttpServer } from '@inference-server/service-kit';
import { needs } from '@inference-server/testing';

/** private-api's side of what consumers are to host, with its rows in memory. */
export interface TestReplicas {
  /** What each consumer is to have, by its id. */
  orders: Map<string, ReplicaOrder[]>;
  /** Has one ordered. */
  order(consumer: string, order: Partial<ReplicaOrder> & { files?: Buffer }): ReplicaOrder;
  /** Has it stopped; `forget`: nothing is known of it. */
  stop(consumer: string, id: string, how?: 'stop' | 'forget'): void;
  /** What was last said of it. */
  said(id: string): ReportedReplica | undefined;
  /** All that was said of it, without repetition. */
  history(id: string): ReportedReplica[];
  reports: (ReplicaReport & { consumer: string })[];
  /** The consumers whose reports are refused: another process is the consumer. */
  replaced: Set<string>;
  /** How many were for that. */
  refusals: number;
  /** The consumers whose reports are not taken for now. */
  deaf: Set<string>;
  /** Those with a call that is under way: they are not stopped before its end. */
  busy: Set<string>;
  /** The consumers whose reports with a log are too much. */
  refusesLogsOf: Set<string>;
}

export const echoContract: ModelContract = {
  signature_name: 'predict',
  inputs: [{ name: 'in', dtype: 'DT_DOUBLE', shape: [-1] }],
  outputs: [{ name: 'out', dtype: 'DT_DOUBLE', shape: [-1] }],
};

export function mountReplicas(app: ReturnType<typeof createHttpServer>): TestReplicas {
  const files = new Map<string, Buffer>();
  const told = new Map<string, ReportedReplica[]>();
  let changes = 0;
  const replicas: TestReplicas = {
    orders: new Map(),
    reports: [],
    replaced: new Set(),
    refusals: 0,
    deaf: new Set(),
    busy: new Set(),
    refusesLogsOf: new Set(),
    order(consumer, { files: zip, ...more }) {
      const id = randomUUID();
      const order: ReplicaOrder = {
        ...{ id, wanted: 'run', has_served: false, model_version_id: randomUUID(), version: 1 },
        ...{ human_readable_id: 'test', container_tag: 'absent:1', pull_policy: 'never' },
        ...{ needs: needs(), rights: usualRights, lenders: [], contract: echoContract },
        ...{ model_files: zip === undefined ? null : referenceOf(zip), has_contract_file: false },
        ...more,
      };
      if (zip !== undefined) files.set(order.id, zip);
      replicas.orders.set(consumer, [...(replicas.orders.get(consumer) ?? []), order]);
      changes += 1;
      return order;
    },
    stop(consumer, id, how = 'stop') {
      const before = replicas.orders.get(consumer) ?? [];
      const left = before.flatMap((order) => {
        if (order.id !== id) return [order];
        return how === 'stop' ? [{ ...order, wanted: 'stop' as const }] : [];
      });
      replicas.orders.set(consumer, left);
      changes += 1;
    },
    said: (id) => told.get(id)?.at(-1),
    history: (id) => told.get(id) ?? [],
  };

  mountRoute(app, routes.reportReplicas, async ({ params, body }) => {
    const consumer = params.consumer_id;
    if (replicas.replaced.has(consumer)) {
      replicas.refusals += 1;
      throw new AppError('CONSUMER_EXISTS', 'Another process is the consumer.');
    }
    if (replicas.deaf.has(consumer)) throw new AppError('SERVICE_UNAVAILABLE', 'away');
    const logs = body.replicas.map(({ end }) => end?.log ?? '').join('');
    if (replicas.refusesLogsOf.has(consumer) && logs !== '') {
      throw new AppError('PAYLOAD_TOO_LARGE', 'Its logs are too long.');
    }
    replicas.reports.push({ ...body, consumer });
    for (const replica of body.replicas) {
      const before = told.get(replica.id) ?? [];
      if (JSON.stringify(before.at(-1)) !== JSON.stringify(replica)) {
        told.set(replica.id, [...before, replica]);
      }
      const orders = replicas.orders.get(consumer) ?? [];
      if (replica.state !== 'ended' || !orders.some(({ id }) => id === replica.id)) continue;
      replicas.orders.set(
        consumer,
        orders.filter(({ id }) => id !== replica.id),
      );
      changes += 1;
    }
    const draining = () =>
      body.replicas.filter(({ id, state }) => state === 'draining' && !replicas.busy.has(id));
    const isNews = () => {
      const orders = replicas.orders.get(consumer) ?? [];
      for (const { id } of draining()) {
        const isToGo = orders.some((order) => order.id === id && order.wanted === 'run');
        if (isToGo) replicas.stop(consumer, id);
      }
      return body.revision !== String(changes);
    };
    for (let waited = 0; waited < 300 && !isNews(); waited += 20) await sleep(20);
    const orders = (replicas.orders.get(consumer) ?? []).map((order) => ({
      ...order,
      has_served: (told.get(order.id) ?? []).some(({ state }) => state === 'ready'),
    }));
    return { revision: String(changes), lease_ms: 30_000, replicas: orders };
  });
  mountRoute(app, routes.getReplicaModelFiles, async ({ params }, reply) =>
    reply.type('application/zip').send(files.get(params.replica_id) ?? Buffer.alloc(0)),
  );
  return replicas;
}

function referenceOf(bytes: Buffer) {
  return { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}
