import type { HostedModel } from '@inference-server/contracts';
import { concatInputs, rowsOf, splitOutputs } from '@inference-server/protos';
import { AppError } from '@inference-server/errors';
import type { CallBounds } from './call-bounds.js';
import { requireContract, type PredictCall, type Prediction } from './predict-call.js';
import type { ReplicaCall } from './replica-call.js';

/** A call that waits for others, or goes with them. */
interface Member {
  call: PredictCall;
  rows: number;
  deadlineAt: number;
  resolve(prediction: Prediction): void;
  reject(error: Error): void;
}

interface Batch {
  model: HostedModel;
  members: Set<Member>;
  rows: number;
  /** Aborts when every member has gone. */
  deserted: AbortController;
  timer: NodeJS.Timeout;
}

/**
 * Has calls of a model go together that allows it: those that come within `max_delay_ms` and differ in their
 * rows alone, up to `max_batch_size` rows. Who goes away leaves the others be.
 */
export function createBatcher(send: (call: ReplicaCall) => Promise<Prediction>): {
  /** Undefined: it goes alone. */
  join(model: HostedModel, call: PredictCall, bounds: CallBounds): Promise<Prediction> | undefined;
} {
  const open = new Map<string, Batch>();

  function close(key: string, batch: Batch): void {
    clearTimeout(batch.timer);
    if (open.get(key) === batch) open.delete(key);
    if (batch.members.size > 0) void sendBatch(batch);
  }

  async function sendBatch({ model, members: all, deserted }: Batch): Promise<void> {
    const members = [...all];
    try {
      const [first] = members;
      if (first === undefined) return;
      const { target } = first.call;
      const together = members.map(({ call }) => call.inputs);
      const rest = members.length === 1 ? first.call.rest : concatInputs(model.contract, together);
      if (rest === undefined) throw new AppError('INTERNAL', 'calls of one batch do not fit');
      const { model: by, answer } = await send({
        ...{ target, rest, signal: deserted.signal },
        deadlineAt: Math.max(...members.map(({ deadlineAt }) => deadlineAt)),
        requireContractOf: (placed) => {
          if (placed.model === model) return;
          for (const { call } of members) requireContract(placed.model, call);
        },
      });
      const { message } = answer;
      const parts =
        members.length === 1 || message === undefined
          ? members.map(() => message)
          : splitOutputs(
              message,
              members.map(({ rows }) => rows),
            );
      members.forEach((member, n) =>
        member.resolve({ model: by, answer: { ...answer, message: parts[n] } }),
      );
    } catch (error) {
      for (const member of members) member.reject(error as Error);
    }
  }

  return {
    join(model, call, { signal, deadlineAt }) {
      const { max_batch_size: most, max_delay_ms: delayMs } = model;
      const rows = most > 1 ? rowsOf(model.contract, call.inputs) : undefined;
      if (rows === undefined || rows === 0 || rows >= most) return undefined;
      const key = keyOf(model, call);
      let batch = open.get(key);
      if (batch !== undefined && batch.rows + rows > most) {
        close(key, batch);
        batch = undefined;
      }
      return new Promise<Prediction>((resolve, reject) => {
        const joined = batch ?? begin(key, model, delayMs);
        const leave = (settle: () => void) => {
          joined.members.delete(member);
          signal.removeEventListener('abort', onAbort);
          settle();
          if (joined.members.size === 0) joined.deserted.abort(signal.reason);
        };
        const onAbort = () => {
          joined.rows -= rows;
          leave(() => reject(signal.reason as Error));
        };
        const member: Member = {
          ...{ call, rows, deadlineAt },
          resolve: (prediction) => leave(() => resolve(prediction)),
          reject: (error) => leave(() => reject(error)),
        };
        joined.members.add(member);
        joined.rows += rows;
        signal.addEventListener('abort', onAbort, { once: true });
        if (joined.rows >= most) close(key, joined);
      });
    },
  };

  function begin(key: string, model: HostedModel, delayMs: number): Batch {
    const batch: Batch = {
      ...{ model, members: new Set<Member>(), rows: 0, deserted: new AbortController() },
      timer: setTimeout(() => close(key, batch), delayMs),
    };
    open.set(key, batch);
    return batch;
  }
}

/** Only calls with one key can be concatenated: all sizes but the first are the same. */
function keyOf({ model_version_id: id, contract }: HostedModel, call: PredictCall): string {
  const sizes = contract.inputs.map(({ name }) =>
    (call.inputs.get(name)?.shape?.dims ?? []).slice(1).join('x'),
  );
  return [id, call.target.version ?? '', ...sizes].join(' ');
}
