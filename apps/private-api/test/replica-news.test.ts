import { expect, it } from 'vitest';
import type { BatchModel, ModelContract } from '@inference-server/contracts';
import { needs } from '@inference-server/testing';
import { createKnownContracts } from '../src/modules/replicas/known-contracts.js';
import type { HostedRow, ReplicaRow } from '../src/modules/replicas/repository.js';
import { toSnapshot } from '../src/modules/replicas/snapshot.js';
import { contract } from './replica-players.js';

const known = contract as unknown as ModelContract;
const hosted = (id: string, more: Partial<HostedRow> = {}): HostedRow => ({
  ...{ model_version_id: id, human_readable_id: id, version: 1, description: '', is_current: true },
  ...{ needs: needs(), target_in_flight: 1, max_batch_size: 1, max_delay_ms: 0 },
  ...{ has_no_room: false, last_failure: null },
  ...more,
});
const replica = (id: string, version: string): ReplicaRow => ({
  ...{ id, model_version_id: version, consumer_id: 'c', lenders: [], state: 'READY' },
  ...{ address: 'there:1', human_readable_id: version, version: 1, container_tag: 'a:1' },
  ...{ pull_policy: 'missing', needs: needs(), rights: {}, has_contract_file: false },
  ...{ has_served: true, files_sha256: null, files_bytes: null },
});

it('a contract is read once, and forgotten when its version is asked for no more', async () => {
  const asked: (readonly string[])[] = [];
  const contractsOf = createKnownContracts(async (ids) => {
    asked.push(ids);
    return ids.map((id) => ({ id, contract: known }));
  });
  const of = async (...ids: string[]) => [...(await contractsOf(new Set(ids))).keys()];
  expect(await of('a', 'b')).toEqual(['a', 'b']);
  expect(await of('b', 'c')).toEqual(['b', 'c']);
  expect(await of('b', 'c')).toEqual(['b', 'c']);
  expect(await of('a')).toEqual(['a']);
  expect(asked).toEqual([['a', 'b'], ['c'], ['a']]);
});

it('who waits is told why the last one failed, and that there is no room for the next', () => {
  const failure = { end_reason: 'start_failed', detail: 'It ended.' };
  const last_failure = { ...failure, exit_code: 3, out_of_memory: false };
  const troubleOf = (more: Partial<HostedRow>) => {
    const versions = [hosted('a', { last_failure, ...more })];
    const of = {
      hosted: versions,
      batchModels: [],
      replicas: [],
      consumers: [],
      contracts: new Map(),
    };
    return toSnapshot(of).news.trouble.map(({ detail }) => detail);
  };
  const text = 'last replica failed (start_failed, exit code 3): It ended.';
  expect(troubleOf({})).toEqual([`Its ${text}`]);
  expect(troubleOf({ has_no_room: true })).toEqual([
    `There is no room for it now, and its ${text}`,
  ]);
});

it('news are told apart by what they are of, without a look into any contract', () => {
  const unread = {
    ...known,
    toJSON() {
      throw new Error('a contract is hashed');
    },
  };
  const newsOf = (versions: readonly HostedRow[], replicas: readonly ReplicaRow[] = []) => {
    const ids = ['a', 'b'];
    const contracts = new Map(ids.map((id) => [id, unread as ModelContract]));
    const rows = { hosted: versions, batchModels: [], replicas, consumers: [], contracts };
    const { news, orders } = toSnapshot(rows);
    return [news.models_revision, news.revision, orders.get('c')?.revision];
  };
  const first = newsOf([hosted('a')], [replica('r', 'a')]);
  expect(newsOf([hosted('a')], [replica('r', 'a')])).toEqual(first);
  const others = [
    newsOf([hosted('b')], [replica('r', 'b')]),
    newsOf([hosted('a', { description: 'another' })], [replica('s', 'a')]),
    newsOf([hosted('a', { target_in_flight: 2 })], []),
  ];
  for (const [n, revision] of first.entries()) {
    const all = [revision, ...others.map((other) => other[n])];
    expect(new Set(all).size).toBe(all.length);
  }
});

it('a batch model is news of the models, and no others', () => {
  const batch = { model_version_id: 'b', human_readable_id: 'b', version: 1, description: '' };
  const newsOf = (...batchModels: BatchModel[]) => {
    const rows = { hosted: [], replicas: [], consumers: [], contracts: new Map() };
    const { news, batchModels: told } = toSnapshot({ ...rows, batchModels });
    expect(told).toEqual(batchModels);
    return [news.revision, news.models_revision];
  };
  const [none, one, next] = [newsOf(), newsOf(batch), newsOf({ ...batch, version: 2 })];
  expect(new Set([none, one, next].map(([revision]) => revision)).size).toBe(1);
  expect(new Set([none, one, next].map(([, revision]) => revision)).size).toBe(3);
});
