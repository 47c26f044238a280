import { isEnded, type TaskReport } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { joinSignals, type SendableBlob } from '@inference-server/service-kit';
import type { TaskChanges } from '../../database/task-changes.js';
import type { ZipUploadReader } from '../../http/zip-upload.js';
import type { BlobService } from '../blobs/service.js';
import type { ModelRepository } from '../models/repository.js';
import type { TaskRepository, TaskView } from './repository.js';

export type TaskService = ReturnType<typeof createTaskService>;

/** How many of the container's last lines a 552 shows. */
const logTailLines = 40;

export function createTaskService(deps: {
  tasks: TaskRepository;
  models: ModelRepository;
  blobs: BlobService;
  changes: TaskChanges;
  newTaskUid: () => string;
}) {
  const { tasks, models, blobs, changes } = deps;

  return {
    /**
     * Accepts a task. A uid that this returns is a task that will run: bytes and rows are durable.
     */
    async post(
      humanReadableId: string,
      upload: ZipUploadReader,
      signal: AbortSignal,
    ): Promise<string> {
      const version = await models.currentVersion(humanReadableId);
      if (version === undefined) {
        throw new AppError('MODEL_NOT_FOUND', 'There is no model of this human_readable_id.', {
          extensions: { parameter: 'human_readable_id' },
        });
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
      const uid = deps.newTaskUid();
      try {
        await tasks.insert(uid, version.id, input);
      } catch (error) {
        await blobs.abandon(input.id);
        throw error;
      }
      return uid;
    },

    /**
     * The output of a finished task; anything else is thrown under its code. With `waitMs` the
     * answer is held until the task ends.
     */
    async output(uid: string, waitMs: number, signal: AbortSignal): Promise<SendableBlob> {
      const view = waitMs === 0 ? await tasks.view(uid) : await waitForEnd(uid, waitMs, signal);
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

    async log(uid: string): Promise<string> {
      const log = await tasks.log(uid);
      if (log === undefined) throw taskNotFound();
      return log;
    },

    async delete(uid: string): Promise<void> {
      const blobIds = await tasks.bury(uid);
      if (blobIds === undefined) throw taskNotFound();
      await blobs.removeMarked(blobIds);
    },
  };

  /** The task as it is once it has ended, or when the time is over. */
  async function waitForEnd(
    uid: string,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<TaskView | undefined> {
    const over = joinSignals(signal, AbortSignal.timeout(waitMs));
    const watch = changes.watch(uid);
    try {
      for (;;) {
        const view = await tasks.view(uid);
        if (view === undefined || isEnded(view.state) || over.signal.aborted) return view;
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

function taskPending({ state, attempt }: TaskView): AppError {
  const detail = state === 'RUNNING' ? 'The task is running.' : 'The task is waiting for its turn.';
  return new AppError('TASK_PENDING', detail, {
    retryAfterS: 1,
    extensions: { task: { state, attempt } },
  });
}

function taskFailed(view: TaskView): AppError {
  const { state, attempt, reason, exitCode, log } = view;
  const task: TaskReport = {
    state,
    attempt,
    ...(reason === null ? {} : { reason }),
    ...(exitCode === null ? {} : { exit_code: exitCode }),
    out_of_memory: reason === 'out_of_memory',
    timed_out: reason === 'timed_out',
    log_tail: log === null ? [] : tailOf(log),
  };
  return new AppError('TASK_FAILED', detailOf(view), { extensions: { task } });
}

/**
 * In words. A fault of ours, and a registry or an engine that has no image, tell of addresses and
 * paths, which are for the operator: the row and the consumer's log keep them.
 */
function detailOf({ state, attempt, reason, detail }: TaskView): string {
  switch (reason) {
    case 'fault':
    case 'lease_lost':
      return `The task was given up after ${attempt} attempts that met faults of the server.`;
    case 'image_unavailable':
      return 'The image of the model cannot be had.';
    default:
      return detail ?? `The task is ${state.toLowerCase()}.`;
  }
}

function tailOf(log: string): string[] {
  if (log === '') return [];
  return log.replace(/\n$/, '').split('\n').slice(-logTailLines);
}
