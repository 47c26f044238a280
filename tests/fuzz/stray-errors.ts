import { messageOf } from '@inference-server/errors';

/** Collects what is thrown behind everybody's back while something runs in this process. */
export function watchStrayErrors(): { throwAny: () => void; stop: () => void } {
  const strays: unknown[] = [];
  const note = (error: unknown) => void strays.push(error);
  process.on('unhandledRejection', note);
  process.on('uncaughtException', note);
  return {
    throwAny() {
      const [first] = strays;
      if (first === undefined) return;
      throw new Error(`thrown behind the caller's back: ${messageOf(first)}`, { cause: first });
    },
    stop() {
      process.off('unhandledRejection', note);
      process.off('uncaughtException', note);
    },
  };
}
