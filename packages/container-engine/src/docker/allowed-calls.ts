import type { Readable } from 'node:stream';
import type Docker from 'dockerode';
import { AppError } from '@inference-server/errors';
import {
  requireInternalNetwork,
  requirePlainCommand,
  requirePlainJoin,
  requirePlainVolume,
  requireSandbox,
} from './require-sandbox.js';

/** A call of the engine's API, `*` for a name in its path. */
export interface EngineCall {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  path: string;
  /** Throws INTERNAL for a body that no caller of ours may send. Without: it may be anything. */
  requireBody?: (body: unknown) => void;
  /** What the query must have, where it has a parameter of the name. */
  query?: Readonly<Record<string, string>>;
}

/** All that an engine is ever asked. Who holds an engine's socket is root on its host: this is what is used of it. */
export const allowedCalls: readonly EngineCall[] = [
  { method: 'GET', path: '/_ping' },
  { method: 'GET', path: '/info' },
  { method: 'GET', path: '/events' },
  { method: 'GET', path: '/system/df' },
  { method: 'GET', path: '/images/*/json' },
  // A pull, or an import of what is sent: not of an address that the engine would fetch.
  { method: 'POST', path: '/images/create', query: { fromSrc: '-' } },
  { method: 'GET', path: '/volumes' },
  { method: 'POST', path: '/volumes/create', requireBody: requirePlainVolume },
  { method: 'GET', path: '/volumes/*' },
  { method: 'DELETE', path: '/volumes/*' },
  { method: 'GET', path: '/networks' },
  { method: 'POST', path: '/networks/create', requireBody: requireInternalNetwork },
  { method: 'GET', path: '/networks/*' },
  { method: 'DELETE', path: '/networks/*' },
  { method: 'POST', path: '/networks/*/connect', requireBody: requirePlainJoin },
  { method: 'POST', path: '/networks/*/disconnect', requireBody: requirePlainJoin },
  { method: 'GET', path: '/containers/json' },
  { method: 'POST', path: '/containers/create', requireBody: requireSandbox },
  { method: 'GET', path: '/containers/*/json' },
  { method: 'POST', path: '/containers/*/start' },
  { method: 'POST', path: '/containers/*/wait' },
  { method: 'POST', path: '/containers/*/stop' },
  { method: 'DELETE', path: '/containers/*' },
  { method: 'GET', path: '/containers/*/stats' },
  { method: 'GET', path: '/containers/*/top' },
  { method: 'GET', path: '/containers/*/logs' },
  { method: 'GET', path: '/containers/*/archive' },
  { method: 'PUT', path: '/containers/*/archive' },
  { method: 'POST', path: '/containers/*/exec', requireBody: requirePlainCommand },
  { method: 'POST', path: '/exec/*/start' },
  { method: 'GET', path: '/exec/*/json' },
];

/** The entry of a call that is allowed. `path` is as it is sent, with its query. */
export function findAllowedCall(method: string, path: string): EngineCall | undefined {
  const [place = '', query = ''] = path.split('?', 2);
  const call = allowedCalls.find(
    (allowed) => allowed.method === method && patternOf(allowed).test(place),
  );
  const parameters = new URLSearchParams(query);
  const isAsked = Object.entries(call?.query ?? {}).every(([name, value]) =>
    parameters.getAll(name).every((asked) => asked === value),
  );
  return isAsked ? call : undefined;
}

/** A name has nothing in it that an engine would take for another place. Only an image's has slashes. */
function patternOf({ path }: EngineCall): RegExp {
  const word = '[A-Za-z0-9_][A-Za-z0-9_.:@-]*';
  const name = path.startsWith('/images/') ? `${word}(?:/${word})*` : word;
  return new RegExp(`^${path.replaceAll('.', '\\.').replace('*', name)}$`);
}

/**
 * Lets nothing but {@link allowedCalls} out of the process: at the one place where dockerode, with all that
 * it can do, hands a request to node.
 */
export function restrictToAllowedCalls(docker: Docker): void {
  const modem = docker.modem as unknown as RequestBuilder;
  const send = modem.buildRequest.bind(modem);
  modem.buildRequest = (request, context, data, callback) => {
    try {
      requireAllowed(request, data);
    } catch (error) {
      if (typeof data === 'object') data.destroy();
      callback(error as Error, null);
      return;
    }
    send(request, context, data, callback);
  };
}

function requireAllowed(
  { method, path }: EngineRequest,
  data: string | Readable | undefined,
): void {
  const call = findAllowedCall(method, path);
  if (call === undefined) {
    const [place] = path.split('?', 1);
    throw new AppError('INTERNAL', `The engine is never asked ${method} ${place}.`);
  }
  call.requireBody?.(typeof data === 'string' ? JSON.parse(data) : undefined);
}

interface EngineRequest {
  method: string;
  path: string;
}

interface RequestBuilder {
  buildRequest(
    request: EngineRequest,
    context: unknown,
    data: string | Readable | undefined,
    callback: (error: Error | null, answer: unknown) => void,
  ): void;
}
