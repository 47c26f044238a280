import Docker from 'dockerode';
import type { IncomingMessage } from 'node:http';
import { AppError } from '@inference-server/errors';
import { EngineError } from '../engine-error.js';
import { restrictToAllowedCalls } from './allowed-calls.js';
import { engineErrorOf } from './errors.js';

/** How long the engine may take (ms). */
export interface EngineDeadlines {
  /** One plain call. */
  callMs: number;
  /** Starting a container (a device's hooks take a while), and removing one with all its files. */
  slowCallMs: number;
  /** Between two signs of life of a transfer: a pull, an archive. */
  idleMs: number;
  /** Between two looks at a container whose end is waited for. */
  pollMs: number;
  /** How long the engine may be away while the end of a container is waited for. */
  awayMs: number;
}

/** The way to one engine: dockerode, and the bounds of every call. */
export interface EngineConnection {
  docker: Docker;
  deadlines: EngineDeadlines;
}

/** What the engine sends as a stream. dockerode's types leave out that it can be destroyed. */
export interface ByteSource extends AsyncIterable<Buffer> {
  destroy(error?: Error): unknown;
}

/**
 * `dockerHost` is what DOCKER_HOST holds: unix:///path, tcp://host:port or http://host:port.
 * Throws AppError when it is none of these.
 */
export function connectEngine(dockerHost: string, deadlines: EngineDeadlines): EngineConnection {
  // Every option is given, since dockerode takes what is missing from the environment.
  const common = { protocol: 'http', pathPrefix: '/', timeout: undefined, version: undefined };
  const noTls = { ca: undefined, cert: undefined, key: undefined };
  const options = { ...common, ...noTls, ...addressOf(dockerHost) };
  const docker = new Docker(options as Docker.DockerOptions);
  restrictToAllowedCalls(docker);
  return { docker, deadlines };
}

/**
 * One call, bounded. The signals are raced against the call rather than only handed to it: dockerode
 * leaves calls unanswered when a connection breaks inside an answer.
 */
export async function boundedCall<T>(
  doing: string,
  deadlineMs: number,
  signal: AbortSignal,
  call: (signal: AbortSignal) => Promise<T>,
  overdue = 'the engine did not answer in time.',
): Promise<T> {
  signal.throwIfAborted();
  const bound = new AbortController();
  const forward = () => {
    bound.abort(signal.reason);
  };
  const timer = setTimeout(() => {
    bound.abort(new EngineError('overdue', `${doing}: ${overdue}`));
  }, deadlineMs);
  signal.addEventListener('abort', forward, { once: true });
  try {
    return await Promise.race([call(bound.signal), rejectionOf(bound.signal)]);
  } catch (error) {
    if (bound.signal.aborted) throw bound.signal.reason as Error;
    throw engineErrorOf(error, doing);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', forward);
  }
}

/**
 * An answer as a stream, once its head is there: for what dockerode would only give as a whole, and
 * then without noticing that the connection broke.
 */
export function dialStream(
  { docker }: EngineConnection,
  request: {
    method: 'GET' | 'POST';
    path: string;
    query: Record<string, string>;
    body?: Record<string, unknown>;
  },
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const modem = docker.modem as Modem;
  return new Promise((resolve, reject) => {
    modem.dial(
      {
        method: request.method,
        path: `${request.path}?`,
        options: { _query: request.query, _body: request.body ?? {} },
        isStream: true,
        abortSignal: signal,
        statusCodes: { 200: true, 400: 'refused', 404: 'absent', 409: 'conflict', 500: 'failed' },
      },
      (error, answer) => {
        if (error !== null || answer === null) reject(error ?? new Error('no answer'));
        else resolve(answer);
      },
    );
  });
}

interface Modem {
  dial(
    options: unknown,
    callback: (error: Error | null, answer: IncomingMessage | null) => void,
  ): void;
}

function rejectionOf(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => {
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the caller's reason
      reject(signal.reason);
    });
  });
}

function addressOf(dockerHost: string): { host?: string; port?: string; socketPath?: string } {
  const unix = /^unix:\/\/(\/.+)$/.exec(dockerHost);
  if (unix?.[1] !== undefined) return { socketPath: unix[1] };
  const tcp = /^(?:tcp|http):\/\/([^/]+)\/?$/.exec(dockerHost);
  if (tcp?.[1] === undefined || !URL.canParse(`http://${tcp[1]}`)) {
    throw new AppError(
      'VALIDATION_FAILED',
      'DOCKER_HOST must be unix:///path, tcp://host:port or http://host:port.',
    );
  }
  const { hostname, port } = new URL(`http://${tcp[1]}`);
  return { host: hostname, port: port === '' ? '2375' : port };
}
