import type { Readable } from 'node:stream';
import { rootCertificates } from 'node:tls';
import { Agent, type Dispatcher } from 'undici';
import { systemCode, type AppError } from '@inference-server/errors';
import type { UploadPace } from '@inference-server/service-kit';
import {
  nothingThere,
  refusedUrl,
  sourceAway,
  sourceStream,
  type OpenSource,
} from './model-source.js';
import { lookupPublic, notPublic } from './public-address.js';

export interface DownloadBounds {
  /** Of the authority of a lab, beside those that Node knows. */
  ca: string | undefined;
  /** How long a source may say nothing. */
  timeoutMs: number;
  /** What a source must bring, as whoever uploads. */
  pace: UploadPace;
}

/** A file, or an answer that is none and no refusal. */
type Downloaded = { source: OpenSource } | { status: number; location: string | undefined };

/** Asks once, over a connection of its own, which ends with the stream. */
export async function download(
  request: { url: string; onlyPublic: boolean; headers?: Record<string, string> },
  bounds: DownloadBounds,
  signal: AbortSignal,
): Promise<Downloaded> {
  const agent = agentFor(request.onlyPublic, bounds);
  const end = () => void agent.destroy().catch(() => undefined);
  try {
    const answer = await ask(agent, request, signal);
    // Also of one that is left unread.
    answer.body.on('error', () => undefined);
    const source = sourceOf(answer, bounds.pace, signal);
    if ('stream' in source) {
      source.stream.once('close', end);
      return { source };
    }
    end();
    return source;
  } catch (error) {
    end();
    throw error;
  }
}

function agentFor(onlyPublic: boolean, { ca, timeoutMs }: DownloadBounds): Agent {
  return new Agent({
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connect: {
      timeout: timeoutMs,
      rejectUnauthorized: true,
      ...(ca !== undefined && { ca: [...rootCertificates, ca] }),
      ...(onlyPublic && { lookup: lookupPublic }),
    },
  });
}

async function ask(
  agent: Agent,
  { url, headers }: { url: string; headers?: Record<string, string> },
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData> {
  const { origin, pathname, search } = new URL(url);
  try {
    return await agent.request({
      origin,
      path: pathname + search,
      method: 'GET',
      headers: { 'accept-encoding': 'identity', ...headers },
      signal,
    });
  } catch (error) {
    signal.throwIfAborted();
    throw whyNot(error);
  }
}

function whyNot(error: unknown): AppError {
  const codes = [systemCode(error), ...causesOf(error).map(systemCode)];
  if (codes.includes(notPublic)) {
    return refusedUrl('is of a host that MODEL_SOURCE_HOSTS does not allow', error);
  }
  return sourceAway('does not answer', error);
}

function causesOf(error: unknown): unknown[] {
  const { cause, errors = [] } = error as { cause?: unknown; errors?: unknown[] };
  return cause === undefined ? errors : [cause, ...errors];
}

function sourceOf(
  { statusCode: status, headers, body }: Dispatcher.ResponseData,
  pace: UploadPace,
  signal: AbortSignal,
): OpenSource | { status: number; location: string | undefined } {
  if (status === 200) {
    const length = Number(headers['content-length'] ?? NaN);
    if ((headers['content-encoding'] ?? 'identity') !== 'identity') {
      throw refusedUrl('is answered with a Content-Encoding');
    }
    const stream = sourceStream(body, atPace(body, pace), signal);
    return { stream, ...(Number.isSafeInteger(length) && { bytes: length }) };
  }
  if (status === 404 || status === 410) throw nothingThere();
  if (status === 401 || status === 403) throw refusedUrl('names something that is not given out');
  if (status >= 400 && status < 500 && ![408, 425, 429].includes(status)) {
    throw refusedUrl(`is answered with ${status}`);
  }
  const { location } = headers;
  return { status, location: typeof location === 'string' ? location : undefined };
}

/** Time in which we did not take what had come is not judged. */
async function* atPace(body: Readable, { minBytes, windowMs }: UploadPace): AsyncGenerator<Buffer> {
  let bytes = 0;
  let waitedMs = 0;
  let askedAt = performance.now();
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    waitedMs += performance.now() - askedAt;
    if (waitedMs >= windowMs) {
      if (bytes < minBytes) throw sourceAway('brings too little for how long it takes');
      bytes = 0;
      waitedMs = 0;
    }
    yield chunk;
    askedAt = performance.now();
  }
}
