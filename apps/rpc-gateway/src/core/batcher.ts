import type { HostedModel } from '@inference-server/contracts';
import { concatInputs, rowsOf, splitOutputs, type Rows } from '@inference-server/protos';
import type { ByteBudget, StatusName } from '@inference-server/grpc';
import { noRoom, requireContract, type PredictCall, type Prediction } from './predict-call.js';
import type { ReplicaCall } from './replica-call.js';

/** A call that waits for others, or goes with them. */
interface Member {
  call: PredictCall;
  rows: Rows;
  resolve(prediction: Prediction): void;
  reject(error: Error): void;
}

interface Batch {
  model: HostedModel;
  members: Set<Member>;
  rows: number;
  bytes: number;
  /** Aborts when every member has gone. */
  deserted: AbortController;
  timer: NodeJS.Timeout;
}

export interface Batcher {
  /** Undefined: it goes alone. */
  join(model: HostedModel, call: PredictCall): Promise<Prediction> | undefined;
  /** By model version: calls that wait for others. */
  waitingOf(): ReadonlyMap<string, number>;
}

/** Calls that go together are in memory twice, and larger ones gain nothing by it. */
const maxBatchBytes = 4 * 1024 ** 2;
/** A model that says so has not run: one of its callers may be to blame, who is found by asking for each alone. */
const refusals: readonly StatusName[] = ['INVALID_ARGUMENT', 'OUT_OF_RANGE', 'FAILED_PRECONDITION'];

/**
 * Has calls of a model go together that allows it: those that come within `max_delay_ms` and differ in their
 * rows alone, up to `max_batch_size` rows. Who goes away leaves the others be, and what is wrong with one call
 * is no answer to another.
 */
export function createBatcher({
  send,
  budget,
  onWaiting,
}: {
  send: (call: ReplicaCall) => Promise<Prediction>;
  budget: ByteBudget;
  /** Called with the first call that waits for others. */
  onWaiting: (model: HostedModel) => void;
}): Batcher {
  const open = new Map<string, Batch>();

  function close(key: string, batch: Batch): void {
    clearTimeout(batch.timer);
    if (open.get(key) === batch) open.delete(key);
    if (batch.members.size > 0) void sendBatch(batch);
  }

  async function sendBatch(batch: Batch): Promise<void> {
    const members = [...batch.members];
    try {
      const together = members.length === 1 ? undefined : concatInputs(members.map((m) => m.rows));
      const held = holdIn(budget);
      const predictions =
        together && (await askTogether(batch, members, together, held.hold).finally(held.release));
      if (predictions === undefined) {
        for (const member of batch.members) void sendAlone(batch.model, member);
      } else {
        members.forEach((member, n) => give(member, predictions[n] as Prediction));
      }
    } catch (error) {
      for (const member of members) member.reject(error as Error);
    }
  }

  function give(member: Member, prediction: Prediction): void {
    try {
      member.call.hold(prediction.answer.message?.length ?? 0);
      member.resolve(prediction);
    } catch (error) {
      member.reject(error as Error);
    }
  }

  /** Undefined: each is to be asked for alone. */
  async function askTogether(
    { model, deserted }: Batch,
    members: readonly Member[],
    rest: Buffer[],
    hold: PredictCall['hold'],
  ): Promise<Prediction[] | undefined> {
    const [first] = members;
    if (first === undefined) return [];
    let fits = true;
    const asked = send({
      ...{ target: first.call.target, rest, signal: deserted.signal, hold },
      isRepeatable: first.call.isRepeatable,
      deadlineAt: Math.max(...members.map(({ call }) => call.deadlineAt)),
      requireContractOf: (placed) => {
        if (placed.model === model) return;
        fits = false;
        for (const { call } of members) requireContract(placed.model, call);
        fits = true;
      },
    });
    const prediction = await asked.catch((error: unknown) => {
      if (fits) throw error;
      return undefined;
    });
    if (prediction === undefined || refusals.includes(prediction.answer.status)) return undefined;
    const { model: by, answer } = prediction;
    const { message } = answer;
    const parts = message && splitOutputs(message, members.map(({ rows }) => rows.count)); // prettier-ignore
    return members.map((_, n) => ({ model: by, answer: { ...answer, message: parts?.[n] } }));
  }

  async function sendAlone(model: HostedModel, member: Member): Promise<void> {
    const { call } = member;
    try {
      const prediction = await send({
        ...{ target: call.target, rest: call.rest, sinkFor: call.sinkFor, hold: call.hold },
        ...{ isRepeatable: call.isRepeatable, signal: call.signal, deadlineAt: call.deadlineAt },
        requireContractOf: (placed) => {
          if (placed.model !== model) requireContract(placed.model, call);
        },
      });
      member.resolve(prediction);
    } catch (error) {
      member.reject(error as Error);
    }
  }

  function begin(key: string, model: HostedModel): Batch {
    const batch: Batch = {
      ...{ model, members: new Set<Member>(), rows: 0, bytes: 0 },
      deserted: new AbortController(),
      timer: setTimeout(() => close(key, batch), model.max_delay_ms),
    };
    open.set(key, batch);
    return batch;
  }

  return {
    join(model, call) {
      const most = model.max_batch_size;
      const bytes = call.rest.reduce((sum, part) => sum + part.byteLength, 0);
      // What it says beside its inputs is said for it alone.
      if (most <= 1 || bytes > maxBatchBytes || call.hasMore) return undefined;
      const rows = rowsOf(model.contract, call.inputs, most - 1);
      if (rows === undefined || rows.count === 0) return undefined;
      const key = keyOf(model, call, rows);
      const before = open.get(key);
      if (before !== undefined) {
        const isFull = before.rows + rows.count > most || before.bytes + bytes > maxBatchBytes;
        if (isFull) close(key, before);
      }
      const { signal } = call;
      const batch = open.get(key) ?? begin(key, model);
      const isFirst = batch.members.size === 0;
      const result = new Promise<Prediction>((resolve, reject) => {
        const leave = (settle: () => void) => {
          batch.members.delete(member);
          signal.removeEventListener('abort', onAbort);
          settle();
        };
        const onAbort = () => {
          batch.rows -= rows.count;
          batch.bytes -= bytes;
          leave(() => reject(signal.reason as Error));
          if (batch.members.size > 0) return;
          // Whoever comes now is to wait in another one.
          close(key, batch);
          batch.deserted.abort(signal.reason);
        };
        const member: Member = {
          ...{ call, rows },
          resolve: (prediction) => leave(() => resolve(prediction)),
          reject: (error) => leave(() => reject(error)),
        };
        batch.members.add(member);
        signal.addEventListener('abort', onAbort, { once: true });
      });
      batch.rows += rows.count;
      batch.bytes += bytes;
      if (batch.rows >= most) close(key, batch);
      else if (isFirst) onWaiting(model);
      return result;
    },

    waitingOf() {
      const counts = new Map<string, number>();
      for (const { model, members } of open.values()) {
        const { model_version_id: id } = model;
        counts.set(id, (counts.get(id) ?? 0) + members.size);
      }
      return counts;
    },
  };
}

/** An answer to several calls, and the parts that are made of it, until each has its own. */
function holdIn(budget: ByteBudget): { hold(bytes: number): void; release(): void } {
  let held = 0;
  return {
    hold(bytes) {
      if (!budget.take(2 * bytes)) throw noRoom();
      held += 2 * bytes;
    },
    release: () => budget.give(held),
  };
}

/** Only calls with one key can be concatenated: all sizes but the first are the same, and all may be repeated or none. */
function keyOf(
  { model_version_id: id }: HostedModel,
  { target, isRepeatable = false }: PredictCall,
  { tensors }: Rows,
): string {
  const sizes = [...tensors.values()].map(({ inner }) => inner.join('x'));
  return [id, target.version ?? '', isRepeatable, ...sizes].join(' ');
}
