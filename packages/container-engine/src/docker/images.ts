import type { Readable } from 'node:stream';
import { messageOf } from '@inference-server/errors';
import type { ImageDetails, RegistryCredentials } from '../container-engine.js';
import { EngineError, isEngineProblem } from '../engine-error.js';
import { boundedCall, type ByteSource, type EngineConnection } from './connection.js';
import { engineErrorOf, tellsOfFullDisk } from './errors.js';

export async function inspectImage(
  { docker, deadlines }: EngineConnection,
  reference: string,
  signal: AbortSignal,
): Promise<ImageDetails | undefined> {
  try {
    // dockerode passes no signal on here; the call is left to itself when it is overdue.
    const image = await boundedCall(`image ${reference}`, deadlines.callMs, signal, () =>
      docker.getImage(reference).inspect(),
    );
    // Newer engines leave the configuration out where it is empty.
    const config = image.Config as
      { User?: string; Volumes?: Record<string, object> | null } | null | undefined;
    const volumes = Object.keys(config?.Volumes ?? {});
    return { id: image.Id, user: config?.User ?? '', volumes };
  } catch (error) {
    if (isEngineProblem(error, 'image_absent')) return undefined;
    throw error;
  }
}

export async function pullImage(
  { docker, deadlines }: EngineConnection,
  reference: string,
  signal: AbortSignal,
  options: { onProgress?: () => void; credentials?: RegistryCredentials | undefined },
): Promise<void> {
  const { onProgress = () => undefined, credentials } = options;
  const doing = `pull of ${reference}`;
  const messages = await boundedCall(doing, deadlines.idleMs, signal, (abortSignal) =>
    docker.createImage(credentials, { ...pullQuery(reference), abortSignal }),
  ).catch((error: unknown) => {
    throw isEngineProblem(error, 'failed') ? pullFailure(messageOf(error), error) : error;
  });
  await followProgress(doing, messages as NodeJS.ReadableStream & ByteSource, {
    signal,
    idleMs: deadlines.idleMs,
    onProgress,
  });
}

export async function importImage(
  { docker, deadlines }: EngineConnection,
  reference: string,
  tar: Readable,
  signal: AbortSignal,
): Promise<void> {
  const doing = `import of ${reference}`;
  const { fromImage: repo, tag } = pullQuery(reference);
  try {
    const messages = await boundedCall(doing, deadlines.slowCallMs, signal, (abortSignal) =>
      docker.importImage(tar, { repo, tag, abortSignal }),
    );
    await followProgress(doing, messages as NodeJS.ReadableStream & ByteSource, {
      signal,
      idleMs: deadlines.idleMs,
      onProgress: () => undefined,
    });
  } finally {
    tar.destroy();
  }
}

/**
 * Reads the engine's progress messages to their end. The answer's status is 200 before the work has
 * begun: only the messages tell whether it failed.
 */
async function followProgress(
  doing: string,
  messages: ByteSource,
  options: { signal: AbortSignal; idleMs: number; onProgress: () => void },
): Promise<void> {
  const { signal, idleMs, onProgress } = options;
  const stop = () => messages.destroy(signal.reason as Error);
  const overdue = () =>
    messages.destroy(new EngineError('overdue', `${doing}: nothing was heard for too long.`));
  signal.addEventListener('abort', stop, { once: true });
  const timer = setTimeout(overdue, idleMs);
  try {
    for await (const line of linesOf(messages)) {
      timer.refresh();
      const failure = failureIn(line);
      if (failure !== undefined) throw pullFailure(`${doing}: ${failure}`);
      onProgress();
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason as Error;
    throw engineErrorOf(error, doing);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
    messages.destroy();
  }
}

/** Only the words tell whether the registry is away or has no such image for us. */
function pullFailure(detail: string, cause?: unknown): EngineError {
  if (tellsOfFullDisk(detail)) return new EngineError('disk_full', detail, { cause });
  const isDefinite =
    /not found|manifest unknown|does not exist|denied|unauthorized|no basic auth credentials/i.test(
      detail,
    );
  return new EngineError(isDefinite ? 'image_absent' : 'failed', detail, { cause });
}

async function* linesOf(source: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of source) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  yield rest;
}

function failureIn(line: string): string | undefined {
  if (line.trim() === '') return undefined;
  const message = JSON.parse(line) as { error?: string; errorDetail?: { message?: string } };
  return message.errorDetail?.message ?? message.error;
}

/** Without a tag or digest the engine would fetch every tag there is. */
function pullQuery(reference: string): { fromImage: string; tag?: string } {
  if (reference.includes('@')) return { fromImage: reference };
  const colon = reference.lastIndexOf(':');
  if (colon > reference.lastIndexOf('/')) {
    return { fromImage: reference.slice(0, colon), tag: reference.slice(colon + 1) };
  }
  return { fromImage: reference, tag: 'latest' };
}
