import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { systemCode, toAppError, type AppError } from '@inference-server/errors';
import { EngineError } from '../engine-error.js';
import { boundedCall, type ByteSource, type EngineConnection } from './connection.js';
import { engineErrorOf } from './errors.js';

/**
 * dockerode notices neither a source that is destroyed without an error nor that the engine has
 * answered before the source's end. Between the two stands a stream of ours, which either side's
 * failure destroys with an error; so the failure that came first is the one that is reported.
 */
export async function putArchive(
  { docker, deadlines }: EngineConnection,
  container: string,
  folder: string,
  tar: Readable,
  signal: AbortSignal,
): Promise<void> {
  const doing = `archive into ${container}`;
  const idle = idleSignal(deadlines.idleMs, `${doing}: the transfer stands still.`);
  const bounds = AbortSignal.any([signal, idle.signal]);
  const body = new Transform({
    transform(chunk, _encoding, done) {
      idle.refresh();
      done(null, chunk);
    },
  });
  const fed = pipeline(tar, body, { signal: bounds });
  const put = boundedCall(doing, noDeadlineMs, bounds, (abortSignal) =>
    docker.getContainer(container).putArchive(body, { path: folder, abortSignal }),
  );
  put.catch((error: unknown) => body.destroy(error as Error));
  try {
    const [feeding, answer] = await Promise.allSettled([fed, put]);
    if (bounds.aborted) throw bounds.reason as Error;
    if (feeding.status === 'rejected') throw withoutNames(feeding.reason, doing);
    if (answer.status === 'rejected') throw withoutNames(answer.reason, doing);
  } finally {
    idle.clear();
    tar.destroy();
  }
}

export async function getArchive(
  { docker, deadlines }: EngineConnection,
  container: string,
  path: string,
  signal: AbortSignal,
): Promise<Readable> {
  const doing = `archive from ${container}`;
  const answer = await boundedCall(doing, deadlines.callMs, signal, (abortSignal) =>
    docker.getContainer(container).getArchive({ path, abortSignal }),
  ).catch((error: unknown) => {
    signal.throwIfAborted();
    throw withoutNames(error, doing);
  });
  const chunks = boundedChunks(answer, { doing, idleMs: deadlines.idleMs, signal });
  return Readable.from(chunks, { objectMode: false });
}

/** Counts only the time that the engine takes: a slow reader is no fault of it. */
async function* boundedChunks(
  answer: NodeJS.ReadableStream,
  { doing, idleMs, signal }: { doing: string; idleMs: number; signal: AbortSignal },
): AsyncGenerator<Buffer> {
  const source = answer as NodeJS.ReadableStream & ByteSource;
  const stop = () => source.destroy(signal.reason as Error);
  const overdue = () =>
    source.destroy(new EngineError('overdue', `${doing}: the transfer stands still.`));
  signal.addEventListener('abort', stop, { once: true });
  let timer = setTimeout(overdue, idleMs);
  try {
    signal.throwIfAborted();
    for await (const chunk of source) {
      clearTimeout(timer);
      yield chunk;
      timer = setTimeout(overdue, idleMs);
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason as Error;
    throw withoutNames(engineErrorOf(error, doing), doing);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
    source.destroy();
  }
}

/**
 * What the engine says of an archive names files in it, or the path that was asked for; such names may
 * be patients', and errors end in logs. Of its words only those are kept that are the system's own.
 */
function withoutNames(error: unknown, doing: string): AppError {
  if (!(error instanceof EngineError) || error.cause === undefined) return toAppError(error, doing);
  const said = error.message.toLowerCase();
  const why =
    reasons.find((reason) => said.includes(reason)) ?? systemCode(error) ?? 'the engine refused it';
  return new EngineError(error.problem, `${doing}: ${why}`);
}

const reasons = [
  'no such container',
  'could not find the file',
  'no such file or directory',
  'no space left on device',
  'disk quota exceeded',
  'read-only file system',
  'marked read-only',
  'input/output error',
  'file name too long',
  'permission denied',
  'operation not permitted',
  'not a directory',
];

/** Longest timer that there is: the transfer is bounded by its progress alone. */
const noDeadlineMs = 2 ** 31 - 1;

/** A signal that aborts once `refresh` was not called for `idleMs`. */
function idleSignal(idleMs: number, detail: string) {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(new EngineError('overdue', detail));
  }, idleMs);
  return {
    signal: controller.signal,
    refresh: () => void timer.refresh(),
    clear: () => {
      clearTimeout(timer);
    },
  };
}
