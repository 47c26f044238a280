import type { TaskReport } from '@inference-server/contracts';

export type TaskAnswer =
  | {
      state: 'finished';
      /** The output. It fails, and never ends, when the connection is cut: read it to its end. */
      zip: ReadableStream<Uint8Array>;
      /** Undefined when the server does not say. */
      bytes: number | undefined;
      /** Of the whole zip, in lower-case hexadecimal, to hold what arrived against. */
      sha256: string | undefined;
    }
  | {
      state: 'pending';
      task: TaskReport | undefined;
      /** When to ask again (s). */
      retryAfterS: number;
    };

export type FinishedTask = Extract<TaskAnswer, { state: 'finished' }>;
