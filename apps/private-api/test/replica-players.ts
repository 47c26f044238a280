import { randomUUID } from 'node:crypto';
import type {
  GatewayNews,
  GatewayReport,
  Needs,
  ReplicaDetails,
  ReplicaOrders,
  ReportedReplica,
  RuntimeSettings,
} from '@inference-server/contracts';
import { rpcGatewayToken } from '@inference-server/service-kit';
import { needs, waitUntil } from '@inference-server/testing';
import { expect } from 'vitest';
import type { RunningPrivateApi } from './running-private-api.js';

export interface HostedVersionRow {
  needs?: Partial<Needs>;
  settings?: Partial<RuntimeSettings>;
  owner?: string;
  filesBlobId?: string;
}

export const contract = {
  signature_name: 'predict',
  inputs: [{ name: 'x', dtype: 'DT_FLOAT', shape: [-1] }],
  outputs: [{ name: 'y', dtype: 'DT_FLOAT', shape: [-1] }],
} as const;

/** The next version of a runtime model; answers its id. */
export async function hostModel(
  api: { database: Pick<RunningPrivateApi['database'], 'query'> },
  id: string,
  { needs: of = {}, settings = {}, owner = 'operator', filesBlobId }: HostedVersionRow = {},
): Promise<string> {
  const versionId = randomUUID();
  const columns = {
    min_replicas: 0,
    max_replicas: 1,
    idle_timeout_s: 300,
    target_in_flight: 1,
    ...settings,
    ...needs(of),
  };
  const stored = Object.fromEntries(
    Object.entries(columns).filter(([name]) => name !== 'gpu_memory_exceeded'),
  );
  const names = Object.keys(stored).join(', ');
  await api.database.query(
    `WITH model AS (
       INSERT INTO models (human_readable_id, description, current_version, owner) VALUES ($2, '', 1, $6)
       ON CONFLICT (human_readable_id) DO UPDATE SET current_version = models.current_version + 1
       RETURNING current_version)
     INSERT INTO model_versions
       (id, human_readable_id, number, kind, container_tag, pull_policy, contract, files_blob_id, ${names})
     SELECT $1, $2, model.current_version, 'runtime', 'runtime:1', 'missing', $3::jsonb, $4::uuid, ${names}
       FROM model, jsonb_populate_record(NULL::model_versions, $5::jsonb)`,
    [
      ...[versionId, id, JSON.stringify(contract), filesBlobId ?? null],
      ...[JSON.stringify(stored), owner],
    ],
  );
  return versionId;
}

/** Of all players: two of one process count together. */
let reports = 0;

/** A consumer that says of its replicas what a test has it say. */
export function playConsumer(api: RunningPrivateApi, id: string, holder = `${id}-process`) {
  const consumer = api.consumer(id, holder);
  let said: ReportedReplica[] = [];
  const send = async (revision: string | null = null, number = (reports += 1)) => {
    const answer = await api.call(
      `/internal/consumers/${id}/replicas`,
      {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ holder, number, replicas: said, revision }),
      },
      consumer.token,
    );
    return { status: answer.status, body: (await answer.json()) as ReplicaOrders };
  };
  const report = async (
    replicas: ReportedReplica[] = said,
    revision: string | null = null,
    number?: number,
  ) => {
    said = replicas;
    const { status, body } = await send(revision, number);
    expect([status, body]).toEqual([200, body]);
    return body;
  };
  return {
    ...consumer,
    /** And reports, without which it is given no replica. */
    async register(registration: Parameters<typeof consumer.register>[0] = {}) {
      const registered = await consumer.register(registration);
      await report();
      return registered;
    },
    send,
    /** Of the last report of any consumer. */
    lastNumber: () => reports,
    report,
    /** What it is ordered, as soon as that is so. */
    async ordered(isIt: (orders: ReplicaOrders['replicas']) => boolean) {
      let orders: ReplicaOrders['replicas'] = [];
      const isSo = async () => isIt((orders = (await report()).replicas));
      expect(await waitUntil(isSo, { timeoutMs: 15_000 }), JSON.stringify(orders)).toBe(true);
      return orders;
    },
    /** The first that it is ordered to run, of a model that is named or any. */
    async nextOrder(model?: string) {
      const isIt = (order: ReplicaOrders['replicas'][number]) =>
        order.wanted === 'run' &&
        (model === undefined || order.human_readable_id === model) &&
        !said.some(({ id: known }) => known === order.id);
      const orders = await this.ordered((all) => all.some(isIt));
      return orders.find(isIt) ?? expect.fail('no order');
    },
    /** Runs the next one, at an address. */
    async serve(model?: string, address = '10.213.0.2:9090') {
      const { id: replica } = await this.nextOrder(model);
      await report([...said, { id: replica, state: 'ready', address }]);
      return replica;
    },
    /** As it is told to do when nobody has it any more. */
    async stop(replica: string) {
      await this.ordered((all) => all.some((o) => o.id === replica && o.wanted === 'stop'));
      await this.end(replica, 'stopped');
    },
    async end(replica: string, reason: NonNullable<ReportedReplica['end']>['reason']) {
      const end = {
        reason,
        detail: 'It ended.',
        exit_code: 3,
        out_of_memory: false,
        log: 'a\nb\n',
      };
      const others = said.filter(({ id: other }) => other !== replica);
      await report([...others, { id: replica, state: 'ended', end }]);
      said = others;
    },
  };
}
export type PlayedConsumer = ReturnType<typeof playConsumer>;

/** A gateway that says of its calls what a test has it say. It drops at once what it is told of no more. */
export function playGateway(api: RunningPrivateApi, id: string = randomUUID()) {
  let holds: GatewayReport['holds'] = [];
  let demand: GatewayReport['demand'] = [];
  let number = 0;
  const idleOf = (inFlight: number, idleS: number) => (inFlight > 0 ? null : idleS);
  const gateway = {
    id,
    async sync(
      more: Partial<GatewayReport> = {},
      { signal }: { signal?: AbortSignal } = {},
    ): Promise<GatewayNews> {
      number += 1;
      const revisions = { revision: null, models_revision: null };
      const body = { ...revisions, number, holds, demand, ...more };
      const answer = await api.call(
        `/internal/gateways/${id}/sync`,
        {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
          ...(signal && { signal }),
        },
        rpcGatewayToken(api.operatorToken),
      );
      const news = (await answer.json()) as GatewayNews;
      expect([answer.status, news]).toEqual([200, news]);
      const before = new Map(holds.map((held) => [held.replica_id, held]));
      const busy = holds.filter(({ in_flight: calls }) => calls > 0);
      const kept = new Set([...news.replicas.map((r) => r.id), ...busy.map((r) => r.replica_id)]);
      holds = [...kept].map(
        (of) => before.get(of) ?? { replica_id: of, in_flight: 0, idle_s: null },
      );
      return news;
    },
    /** From the next report on. */
    want(versionId: string, waiting: number, inFlight = 0) {
      const others = demand.filter((of) => of.model_version_id !== versionId);
      demand = [...others, { model_version_id: versionId, waiting, in_flight: inFlight }];
    },
    calls(replica: string, inFlight: number, idleS = 0) {
      holds = holds.map((of) =>
        of.replica_id === replica
          ? { replica_id: replica, in_flight: inFlight, idle_s: idleOf(inFlight, idleS) }
          : of,
      );
    },
    async until(isIt: (news: GatewayNews) => boolean): Promise<GatewayNews> {
      let news = await gateway.sync();
      const isSo = async () => isIt((news = await gateway.sync()));
      if (isIt(news)) return news;
      expect(await waitUntil(isSo, { timeoutMs: 15_000 }), JSON.stringify(news)).toBe(true);
      return news;
    },
    /** As soon as calls may go to it. */
    async finds(replica: string) {
      return gateway.until(({ replicas }) => replicas.some(({ id: of }) => of === replica));
    },
    async loses(replica: string) {
      return gateway.until(({ replicas }) => !replicas.some(({ id: of }) => of === replica));
    },
  };
  return gateway;
}
export type PlayedGateway = ReturnType<typeof playGateway>;

export async function replicasOf(api: RunningPrivateApi, model: string): Promise<ReplicaDetails[]> {
  const answer = await api.call(`/api/models/${model}/replicas`);
  const list = (await answer.json()) as ReplicaDetails[];
  expect([answer.status, list]).toEqual([200, list]);
  return list;
}

export async function stateOfReplica(api: RunningPrivateApi, id: string): Promise<string> {
  const [row] = await api.database.query<{ state: string }>(
    `SELECT state FROM replicas WHERE id = $1`,
    [id],
  );
  return row?.state ?? 'none';
}

export async function untilReplicaIs(
  api: RunningPrivateApi,
  id: string,
  ...states: string[]
): Promise<void> {
  const isIt = async () => states.includes(await stateOfReplica(api, id));
  expect(await waitUntil(isIt, { timeoutMs: 15_000 })).toBe(true);
}
