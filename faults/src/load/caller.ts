import { setTimeout as sleep } from 'node:timers/promises';
import AdmZip from 'adm-zip';
import { callerHeader, writeCaller } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { createClient, type Client } from '@inference-server/sdk';
import { digestsOf, sha256 } from '../digests.js';
import type { TaskPlan } from './task-kinds.js';

/** What one caller knows of one task: the ledger that the server is held against. */
export interface TaskRecord {
  number: number;
  /** Without its files: they may be large, and there are thousands of records. */
  plan: Omit<TaskPlan, 'files'>;
  /** Undefined: posted at the public door. */
  owner: string | undefined;
  /** Undefined: sent once; when its answer is lost nobody knows whether there is a task. */
  key: string | undefined;
  /** Of the zip that was posted. */
  sha256: string;
  /** Every uid that the server has answered with. */
  uids: Set<string>;
  /** Unix time, ms: when it was sent first, and first answered with a uid. */
  postedAt: number;
  acknowledgedAt: number | undefined;
  /** A cancel or a delete that was answered with success. */
  meddled: 'cancel' | 'delete' | undefined;
  /** A TaskState, or GONE for what is deleted. */
  end: { state: string; reason: string | undefined; at: number } | undefined;
  /** The SHA-256 of each file of the output as it was fetched. */
  output: Record<string, string> | undefined;
  /** Answers that no caller should get, whatever is broken. */
  wrongAnswers: string[];
}

export interface Callers {
  /** Of every task, from before its post. */
  readonly records: readonly TaskRecord[];
  /** Carries a plan to its end; resolves with the record, whatever has happened. */
  run(number: number, plan: TaskPlan, manner: Manner): Promise<TaskRecord>;
}

export interface Manner {
  owner: string | undefined;
  key: string | undefined;
  /** Two posts at once under one key. */
  twice: boolean;
}

export interface CallersOptions {
  publicUrl: string;
  privateUrl: string;
  publicApiToken: string;
  /** Called when a uid was answered, before anything else is done with it. */
  onAcknowledged(uid: string, record: TaskRecord): Promise<void>;
  signal: AbortSignal;
}

const answerWithinMs = 60_000;

export function createCallers(options: CallersOptions): Callers {
  const { signal } = options;
  const records: TaskRecord[] = [];
  const atTheDoor = createClient({ baseUrl: options.publicUrl });
  const clientOf = (owner: string | undefined): Client =>
    owner === undefined
      ? atTheDoor
      : createClient({
          baseUrl: options.privateUrl,
          token: options.publicApiToken,
          fetch: (input, init) => {
            const headers = new Headers(init?.headers);
            const caller = { owner, role: 'submit', credential: owner, address: 'faults' } as const;
            headers.set(callerHeader, writeCaller(caller));
            return fetch(input, { ...init, headers });
          },
        });

  /** Asks until there is an answer that is one; undefined when it is a refusal that is right. */
  async function insist<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
    for (;;) {
      signal.throwIfAborted();
      try {
        return await ask();
      } catch (error) {
        if (!isPutOff(error)) throw error;
        await sleep(300, undefined, { signal });
      }
    }
  }

  async function post(client: Client, record: TaskRecord, zip: Buffer): Promise<void> {
    const { plan, key } = record;
    const send = () =>
      client.postTask(
        {
          human_readable_id: plan.model,
          zip,
          ...(key !== undefined && { idempotency_key: key }),
        },
        { signal: AbortSignal.timeout(answerWithinMs) },
      );
    const uid = key === undefined ? await send() : await insist(send);
    const isNew = !record.uids.has(uid);
    record.uids.add(uid);
    record.acknowledgedAt ??= Date.now();
    if (isNew) await options.onAcknowledged(uid, record);
  }

  async function meddle(client: Client, record: TaskRecord, uid: string): Promise<void> {
    const { then } = record.plan;
    if (then === undefined) return;
    await sleep(then.afterMs, undefined, { signal });
    const bound = () => ({ signal: AbortSignal.timeout(answerWithinMs) });
    try {
      if (then.what === 'delete') await insist(() => client.deleteTask(uid, bound()));
      else await insist(() => client.cancelTask(uid, bound()));
      record.meddled = then.what;
    } catch (error) {
      // A delete whose first answer was lost; a task that was quicker than its cancel.
      if (codeOf(error) === 'TASK_NOT_FOUND' && then.what === 'delete') record.meddled = 'delete';
      else if (codeOf(error) !== 'TASK_ENDED') throw error;
    }
  }

  async function follow(client: Client, record: TaskRecord, uid: string): Promise<void> {
    for (;;) {
      try {
        const answer = await insist(() =>
          client.getTask(uid, { waitS: 20, signal: AbortSignal.timeout(answerWithinMs) }),
        );
        if (answer.state === 'pending') continue;
        record.output = digestsOf(Buffer.from(await new Response(answer.zip).arrayBuffer()));
        record.end = { state: 'FINISHED', reason: undefined, at: Date.now() };
        return;
      } catch (error) {
        const end = endIn(error);
        if (end === undefined && isPutOff(error)) continue;
        if (end === undefined) throw error;
        record.end = { ...end, at: Date.now() };
        return;
      }
    }
  }

  return {
    records,
    async run(number, { files, ...plan }, { owner, key, twice }) {
      const record: TaskRecord = {
        number,
        plan,
        owner,
        key,
        sha256: '',
        uids: new Set(),
        postedAt: Date.now(),
        acknowledgedAt: undefined,
        meddled: undefined,
        end: undefined,
        output: undefined,
        wrongAnswers: [],
      };
      records.push(record);
      const client = clientOf(owner);
      try {
        // Made once: a zip has the time in it, and one key stands for one body.
        const zip = zipOf(files);
        record.sha256 = sha256(zip);
        await Promise.all(Array.from({ length: twice ? 2 : 1 }, () => post(client, record, zip)));
        const [uid] = record.uids;
        if (uid !== undefined) {
          await Promise.all([meddle(client, record, uid), follow(client, record, uid)]);
        }
      } catch (error) {
        if (signal.aborted) return record;
        // Without a key a lost answer is the caller's own bad luck.
        const isLost = key === undefined && record.uids.size === 0 && isPutOff(error);
        if (!isLost) record.wrongAnswers.push(textOf(error));
      }
      return record;
    },
  };
}

/** A fault that passes, or nobody there: 429, 503, 507, a connection that was cut. */
function isPutOff(error: unknown): boolean {
  if (error instanceof AppError) return error.retryable;
  return isCut(error) || (error instanceof DOMException && error.name === 'TimeoutError');
}

/** The answer began, and its connection was cut. */
function isCut(error: unknown): boolean {
  return error instanceof TypeError && ['terminated', 'fetch failed'].includes(error.message);
}

function endIn(error: unknown): { state: string; reason: string | undefined } | undefined {
  if (codeOf(error) === 'TASK_NOT_FOUND') return { state: 'GONE', reason: undefined };
  if (!(error instanceof AppError) || error.code !== 'TASK_FAILED') return undefined;
  const { task } = error.extensions;
  return task === undefined
    ? undefined
    : { state: task.state, reason: task.attempts.at(-1)?.reason ?? undefined };
}

function codeOf(error: unknown): string | undefined {
  return error instanceof AppError ? error.code : undefined;
}

function textOf(error: unknown): string {
  if (error instanceof AppError) return `${error.code}: ${error.message}`;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function zipOf(files: Record<string, Buffer>): Buffer {
  const zip = new AdmZip();
  for (const [name, bytes] of Object.entries(files)) zip.addFile(name, bytes);
  return zip.toBuffer();
}
