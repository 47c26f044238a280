import {
  faultCauses,
  isEnded,
  needsInWords,
  type FaultCause,
  type TaskList,
  type TaskReport,
  type TaskStatus,
} from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import {
  crashPoint,
  joinSignals,
  type Logger,
  type SendableBlob,
} from '@inference-server/service-kit';
import type { Actor } from '../audit/repository.js';
import { readAgain } from '../../database/read-again.js';
import type { Channel } from '../../database/changes.js';
import type { ZipUploadReader } from '../../http/zip-upload.js';
import type { BlobService } from '../blobs/service.js';
import { modelNotFound, runsNoTasks, type ModelRepository } from '../models/repository.js';
import { requireSamePost, type PostKey } from './idempotency-keys.js';
import type { NewTask, TaskOf, TaskRepository, TaskSelection, TaskView } from './repository.js';

export type TaskService = ReturnType<typeof createTaskService>;

export interface TaskPost {
  by: Actor;
  humanReadableId: string;
  idempotencyKey: PostKey | undefined;
  /** What the zip has at least, as far as it is declared. */
  declaredBytes: number;
}

/** What is read for longer is read again, and so is what is read after so many others (ms). */
const readMs = 10 * 60_000;
const mostReads = 10_000;

/** How many of the container's last lines a 552 shows. */
const logTailLines = 40;

export function createTaskService(deps: {
  tasks: TaskRepository;
  models: ModelRepository;
  blobs: BlobService;
  changes: Channel;
  newTaskUid: () => string;
  logger: Logger;
}) {
  const { tasks, models, blobs, changes } = deps;
  /** Those that were noted, and when. */
  const reads = new Map<string, number>();

  return {
    /**
     * Accepts a task. A uid that this returns is a task that will run: bytes and rows are durable.
     * The same post under the same key gives the uid of the task that it has made before.
     */
    async post(
      { by, humanReadableId, idempotencyKey, declaredBytes }: TaskPost,
      upload: ZipUploadReader,
      signal: AbortSignal,
    ): Promise<string> {
      const { owner } = by;
      const earlier = idempotencyKey && (await tasks.keyedPost(idempotencyKey));
      // Before the body is read.
      if (earlier) requireSamePost(earlier, { humanReadableId });
      else {
        // Whose model is deleted meanwhile is told by the insert.
        const model = await models.find(humanReadableId);
        if (model === undefined) throw modelNotFound();
        if (model.kind === 'runtime') throw runsNoTasks();
        await tasks.requireRoom(owner, { bytes: declaredBytes, usesGpu: model.use_gpu });
      }
      const input = await upload.read(
        (zip) => blobs.receive(zip, { kind: 'upload', signal }),
        (received) => blobs.abandon(received.id),
      );
      if (input === undefined) {
        throw new AppError('INVALID_FORM', 'The part zip_file is missing.', {
          extensions: { parameter: 'zip_file' },
        });
      }
      const task: NewTask = {
        uid: deps.newTaskUid(),
        by,
        humanReadableId,
        input,
        idempotencyKey,
      };
      crashPoint('post_stored', task.uid);
      let uid: string | undefined;
      try {
        uid = await tasks
          .insert(task)
          .catch((error: unknown) => readAgain(error, () => tasks.inserted(task), deps.logger));
        crashPoint('post_committed', uid);
        if (uid !== task.uid) deps.logger.debug({ task: uid }, 'a key is answered again');
        return uid;
      } finally {
        if (uid !== task.uid) await blobs.abandon(input.id);
      }
    },

    /**
     * Before the output, or the log, goes out: what is not written down is not sent. What one caller fetches
     * of it from one address within {@link readMs}, part by part or again and again, is one event.
     */
    async noteRead(uid: string, by: Actor, action: 'download_output' | 'read_log'): Promise<void> {
      const read = JSON.stringify([action, uid, by.credential, by.address]);
      const now = performance.now();
      const notedAt = reads.get(read);
      if (notedAt !== undefined && now - notedAt < readMs) return;
      await tasks.noteRead(uid, by, action);
      reads.delete(read);
      // The oldest; of a Map the first.
      if (reads.size >= mostReads) reads.delete(reads.keys().next().value ?? '');
      reads.set(read, now);
    },

    /** The output went out to its last byte. Never throws: it did, whatever comes of the note. */
    async noteFetched(uid: string, owner: string): Promise<void> {
      await tasks.noteFetched(uid, owner).catch((error: unknown) => {
        deps.logger.warn({ reason: messageOf(error) }, 'a fetched output could not be noted');
      });
    },

    /**
     * The output of a finished task; anything else is thrown under its code. With `waitMs` the
     * answer is held until the task ends.
     */
    async output(task: TaskOf, waitMs: number, signal: AbortSignal): Promise<SendableBlob> {
      const view = await viewAtEnd(task, waitMs, signal);
      if (view === undefined || view.deleted) throw taskNotFound();
      switch (view.state) {
        case 'PENDING':
        case 'QUEUED':
        case 'RUNNING':
          throw taskPending(view);
        case 'FAILED':
        case 'CANCELLED':
        case 'EXPIRED':
          throw taskFailed(view);
        case 'FINISHED':
          if (view.output === undefined) throw outputGone();
          return blobs.sendable(view.output, signal);
      }
    },

    async log(task: TaskOf): Promise<string> {
      const found = await tasks.log(task);
      if (found === undefined) throw taskNotFound();
      if (found.isRemoved) {
        throw new AppError('LOG_NOT_FOUND', 'The log of the task is no longer stored.');
      }
      return found.log;
    },

    async status(task: TaskOf): Promise<TaskStatus> {
      const status = await tasks.status(task);
      if (status === undefined) throw taskNotFound();
      return status;
    },

    list: (selection: TaskSelection): Promise<TaskList> => tasks.list(selection),

    /**
     * Cancels the task, as often as it is asked for. With `waitMs` the answer is held until the
     * container is gone. Throws TASK_ENDED when the task has ended otherwise.
     */
    async cancel(
      task: TaskOf,
      by: Actor,
      waitMs: number,
      signal: AbortSignal,
    ): Promise<TaskStatus> {
      const isUnderWay = await tasks.cancel(task, by);
      if (isUnderWay) await viewAtEnd(task, waitMs, signal);
      const status = await tasks.status(task);
      if (status === undefined) throw taskNotFound();
      if (!isUnderWay && status.state !== 'CANCELLED') {
        throw new AppError('TASK_ENDED', `The task is ${status.state.toLowerCase()} already.`);
      }
      return status;
    },

    async delete(task: TaskOf, by: Actor): Promise<void> {
      const blobIds = await tasks.bury(task, by);
      if (blobIds === undefined) throw taskNotFound();
      await blobs.removeMarked(blobIds);
    },
  };

  /** The task as it is once it has ended, or when the time is over, or this process stops. */
  async function viewAtEnd(
    task: TaskOf,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<TaskView | undefined> {
    if (waitMs === 0) return tasks.view(task);
    const over = joinSignals(signal, AbortSignal.timeout(waitMs));
    const watch = changes.watch(task.uid);
    try {
      for (;;) {
        const view = await tasks.view(task);
        if (view === undefined || isEnded(view.state)) return view;
        if (over.signal.aborted || watch.isLetGo) return view;
        await watch.next(over.signal);
      }
    } finally {
      over.release();
      watch.close();
    }
  }
}

function taskNotFound(): AppError {
  return new AppError('TASK_NOT_FOUND', 'There is no such task.');
}

function outputGone(): AppError {
  return new AppError('OUTPUT_NOT_FOUND', 'The task is finished; its output is no longer stored.');
}

function taskPending(view: TaskView): AppError {
  const { state, attempt, attempts, cancelRequested, unservedNeeds } = view;
  const task: TaskReport = {
    state,
    attempt,
    ...(unservedNeeds !== null && { unservable: true }),
    ...(cancelRequested && { cancel_requested: true }),
    attempts,
  };
  return new AppError('TASK_PENDING', whyPending(view), { retryAfterS: 1, extensions: { task } });
}

function whyPending({ state, cancelRequested, unservedNeeds }: TaskView): string {
  if (cancelRequested) return 'The task is being cancelled.';
  if (state === 'RUNNING') return 'The task is running.';
  if (unservedNeeds === null) return 'The task is waiting for its turn.';
  const needs = needsInWords(unservedNeeds);
  return `The task waits for a consumer that could run it; none is there. It needs: ${needs}.`;
}

function taskFailed(view: TaskView): AppError {
  const { state, attempt, attempts, exitCode, log } = view;
  const reason = state === 'EXPIRED' ? 'queue_time_over' : view.reason;
  const task: TaskReport = {
    state,
    attempt,
    ...(reason === null ? {} : { reason }),
    ...(exitCode === null ? {} : { exit_code: exitCode }),
    out_of_memory: reason === 'out_of_memory',
    timed_out: reason === 'timed_out',
    log_tail: log === null ? [] : tailOf(log),
    attempts,
  };
  return new AppError('TASK_FAILED', detailOf(view), { extensions: { task } });
}

/**
 * In words. A fault of ours, and a registry or an engine that has no image, tell of addresses and
 * paths, which are for the operator: the row and the consumer's log keep them.
 */
function detailOf({ state, attempt, reason, detail }: TaskView): string {
  if (state === 'EXPIRED') return 'The task waited for longer than tasks may wait here.';
  if (reason === 'image_unavailable') return 'The image of the model cannot be had.';
  if (reason !== null && reason in faultCauses) {
    const last = faultCauses[reason as FaultCause].meaning;
    return `The task was given up after ${attempt} attempts that met faults of the server. The last: ${last}`;
  }
  return detail ?? `The task is ${state.toLowerCase()}.`;
}

function tailOf(log: string): string[] {
  if (log === '') return [];
  return log.replace(/\n$/, '').split('\n').slice(-logTailLines);
}
