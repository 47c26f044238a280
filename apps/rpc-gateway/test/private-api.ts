import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import {
  callerHeader,
  headedType,
  readCaller,
  readInvocationHead,
  routes,
  type BatchModel,
  type CallerIdentity,
  type ErrorCode,
  type GatewayNews,
  type GatewayReport,
  type HostedModel,
  type IdentifiedCaller,
  type InvocationHead,
  type ModelContract,
  type Problem,
  type Refusal,
  type TokenRequest,
} from '@inference-server/contracts';

export const tokens = { gateway: 'gateway-token', relay: 'relay-token' };

/** What has the form of a key, told from another by a letter. */
export const keyOf = (letter: string) => `isk_${letter.repeat(16)}_${'A'.repeat(43)}`;

/** What has the form of a token. */
export const tokenOf = (n: number) => `ist_${'a'.repeat(20)}${n}.${'B'.repeat(43)}`;

export const usualContract: ModelContract = {
  signature_name: 'predict',
  inputs: [{ name: 'x', dtype: 'DT_DOUBLE', shape: [-1] }],
  outputs: [{ name: 'x', dtype: 'DT_DOUBLE', shape: [-1] }],
};

export const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

export function modelOf(n: number, more: Partial<HostedModel> = {}): HostedModel {
  return {
    model_version_id: idOf(n),
    human_readable_id: 'echo',
    version: n,
    description: '',
    is_current: true,
    contract: usualContract,
    target_in_flight: 8,
    max_batch_size: 1,
    max_delay_ms: 5,
    ...more,
  };
}

export function batchModelOf(name: string, version = 1): BatchModel {
  return {
    model_version_id: idOf(900 + version),
    human_readable_id: name,
    version,
    description: '',
  };
}

type News = Pick<GatewayNews, 'models' | 'batch_models' | 'replicas' | 'trouble'>;

export interface PrivateApi {
  url: string;
  /** What it knows the gateway by. */
  token: string;
  /** The reports that came, the last one at the end. */
  reports: GatewayReport[];
  refusals: Refusal[];
  /** What was stored, the last one at the end. */
  invocations: StoredInvocation[];
  /** What it answers to the next ones, in place of storing them. */
  refusal: Partial<Problem> | undefined;
  /** Whom a key is for; one that is not here is nobody's. */
  callers: Map<string, Partial<IdentifiedCaller>>;
  /** Whose was asked, question by question. */
  identified: string[][];
  /** Waited for before it says whose one is. */
  onIdentify: (bearer: string) => Promise<void>;
  hasKeys: boolean;
  /** Passwords by name. */
  people: Map<string, string>;
  /** The tokens that were asked for, and for whom. */
  issued: (TokenRequest & { caller: unknown })[];
  /** Changes what there is, and tells of it. */
  tell(news: Partial<News>): void;
  /** Changes it, and tells who asks from now on. */
  change(news: Parameters<PrivateApi['tell']>[0]): void;
  /** Answers what is asked of tasks. */
  onTask: (request: IncomingMessage, response: ServerResponse) => void;
  /** Answers nothing any more, and everything again. */
  goAway(): void;
  comeBack(): void;
}

export interface StoredInvocation {
  caller: CallerIdentity | undefined;
  head: InvocationHead | undefined;
  content: Buffer;
}

/** What the gateway asks of private-api, by the contracts: held while there is nothing new. */
export async function startPrivateApi(token = tokens.gateway): Promise<PrivateApi> {
  const state: Required<News> = { models: [], batch_models: [], replicas: [], trouble: [] };
  let [revision, isAway] = [1, false];
  const held = new Set<() => void>();
  const api: PrivateApi = {
    ...{ url: '', token, reports: [], refusals: [], callers: new Map(), hasKeys: true },
    onTask: (_request, response) => void response.writeHead(500).end(),
    ...{ invocations: [], refusal: undefined },
    ...{ people: new Map(), issued: [], identified: [], onIdentify: async () => undefined },
    change(news) {
      Object.assign(state, news);
      revision += 1;
    },
    tell(news) {
      api.change(news);
      for (const answer of held) answer();
    },
    goAway() {
      isAway = true;
      server.closeAllConnections();
    },
    comeBack: () => (isAway = false),
  };

  function answerSync(report: GatewayReport, response: ServerResponse): void {
    const answer = () => {
      clearTimeout(timer);
      held.delete(answer);
      const isKnown = report.models_revision === String(revision);
      const { models, batch_models, ...rest } = state;
      const said = { revision: String(revision), models_revision: String(revision) };
      response.end(JSON.stringify({ ...said, ...rest, ...(!isKnown && { models, batch_models }) }));
    };
    const timer = setTimeout(answer, 5_000);
    response.once('close', () => {
      clearTimeout(timer);
      held.delete(answer);
    });
    held.add(answer);
    if (report.revision !== String(revision)) answer();
  }

  function callerOf(bearer: string): object | null {
    const who = api.callers.get(bearer);
    const usual = { owner: 'key:a', role: 'submit', credential: 'key:a', human_readable_id: null };
    return who === undefined ? null : { ...usual, ...who };
  }

  function issue(asked: TokenRequest & { caller: unknown }, response: ServerResponse): void {
    api.issued.push(asked);
    const { user_name: name, password, human_readable_id: model } = asked;
    if (name !== undefined && api.people.get(name) !== password) {
      refuse(response, 401, 'LOGIN_FAILED', 'The user name or the password is wrong.');
    } else if (!state.models.some(({ human_readable_id: id }) => id === model)) {
      refuse(response, 550, 'MODEL_NOT_FOUND', 'There is no model of this name.');
    } else {
      const token = tokenOf(api.issued.length);
      const owner = name === undefined ? {} : { owner: `user:${name}` };
      api.callers.set(token, { human_readable_id: model ?? null, ...owner });
      response.end(JSON.stringify({ token, role: 'submit', expires_at: '2030-01-01T00:00:00Z' }));
    }
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const isTask = request.url?.startsWith('/api/tasks/') === true;
    if (request.url === routes.storeInvocation.path) {
      const refusal = isAway ? { status: 503 } : api.refusal;
      if (refusal === undefined) api.invocations.push(await readInvocation(request));
      else request.resume();
      response.writeHead(refusal?.status ?? 200).end(JSON.stringify(refusal ?? {}));
      return;
    }
    if (isAway || request.headers.authorization !== `Bearer ${token}`) {
      request.resume();
      response.writeHead(503).end();
      return;
    }
    if (isTask) {
      api.onTask(request, response);
      return;
    }
    const body = JSON.parse((await text(request)) || '{}') as Record<string, unknown>;
    if (request.url?.endsWith('/sync') === true) {
      api.reports.push(body as unknown as GatewayReport);
      answerSync(body as unknown as GatewayReport, response);
    } else if (request.url === routes.identifyCaller.path) {
      const { bearer, address } = body as { bearer: string; address: string };
      api.identified.push([bearer]);
      await api.onIdentify(bearer);
      const who = callerOf(bearer);
      if (who !== null) response.end(JSON.stringify({ ...who, address }));
      else refuse(response, 401, 'UNAUTHORIZED', 'The credentials are not known.', 'credential');
    } else if (request.url === routes.identifyBearers.path) {
      const { bearers } = body as { bearers: string[] };
      api.identified.push(bearers);
      response.end(JSON.stringify({ callers: bearers.map(callerOf) }));
    } else if (request.url === routes.issueToken.path) {
      const caller: unknown = JSON.parse(String(request.headers[callerHeader]));
      issue({ ...(body as TokenRequest), caller }, response);
    } else if (request.url === '/internal/audit/refusals') {
      api.refusals.push(...(body as unknown as { refusals: Refusal[] }).refusals);
      response.end('{}');
    } else {
      response.end(JSON.stringify({ has_keys: api.hasKeys }));
    }
  }

  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  api.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return api;
}

async function readInvocation(request: IncomingMessage): Promise<StoredInvocation> {
  const { [callerHeader]: caller, 'content-type': type } = request.headers;
  if (type !== headedType) throw new Error(`a body of the type ${type}`);
  const body = await buffer(request);
  const end = 4 + body.readUInt32BE();
  return {
    caller: readCaller(String(caller)),
    head: readInvocationHead(body.subarray(4, end)),
    content: body.subarray(end),
  };
}

function refuse(
  response: ServerResponse,
  status: number,
  code: ErrorCode,
  detail: string,
  parameter?: string,
): void {
  response.writeHead(status, { 'content-type': 'application/problem+json' });
  const problem = { type: 'about:blank', title: 'Refused', status, detail, code };
  response.end(JSON.stringify({ ...problem, ...(parameter !== undefined && { parameter }) }));
}
