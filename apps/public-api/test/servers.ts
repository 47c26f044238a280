import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestListener,
  type RequestOptions,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import type { IdentifiedCaller } from '@inference-server/contracts';
import { createLogger, type Logger } from '@inference-server/service-kit';
import { createPublicApi, type PublicApiOptions } from '../src/app.js';

export const problemType = 'application/problem+json; charset=utf-8';
export const uid = 'A'.repeat(43);

/** What has the form of a key, told from another by a letter; and of a token. */
export const keyOf = (letter: string) => `isk_${letter.repeat(16)}_${'A'.repeat(43)}`;
export const wrongKey = keyOf('w');
export const someToken = `ist_claims.${'A'.repeat(43)}`;

/** A real HTTP server in the place of private-api; closed when the test ends. */
export async function startUpstream(
  listener: RequestListener,
): Promise<{ url: string; server: Server }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

/** No limits. */
export const noRates: PublicApiOptions['rates'] = {
  requestsPerKey: 0,
  requestsPerAddress: 0,
  postsPerKey: 0,
  postsPerAddress: 0,
  refusalsPerAddress: 60,
  windowS: 10,
};

/** The public API on a free port, open to anonymous callers unless told otherwise. */
export async function startPublicApi(
  options: Partial<PublicApiOptions> & { privateApiUrl: string },
  logger: Logger = createLogger('public-api', 'silent'),
): Promise<{ url: string; app: Awaited<ReturnType<typeof createPublicApi>> }> {
  const app = await createPublicApi(
    {
      privateApiToken: 'the-token',
      gateway: undefined,
      maxJsonBytes: 8 * 1024 ** 2,
      anonymousRole: 'publish',
      allowPublicPostModel: true,
      isExposed: false,
      trustedProxies: [],
      corsOrigins: [],
      redisUrl: undefined,
      queuePrefix: 'inference-server',
      rates: noRates,
      maxUploadBytes: 1024 ** 3,
      uploadPace: { minBytes: 60 * 1024, windowMs: 60_000 },
      ...options,
    },
    logger,
  );
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(async () => {
    app.server.closeAllConnections();
    await app.close();
  });
  return { url, app };
}

/** With one server in the place of both that it relays to. */
export async function startPair(
  listener: RequestListener,
  options: Partial<PublicApiOptions> = {},
): Promise<{ url: string }> {
  const { url } = await startUpstream(listener);
  const gateway = { url, token: 'the-relay-token' };
  return startPublicApi({ gateway, ...options, privateApiUrl: url });
}

/** private-api that takes everybody who shows anything but {@link wrongKey} for `who`, until that `isGone`. */
export function identifying(
  who: Partial<IdentifiedCaller> & { isGone?: boolean },
  listener: RequestListener,
): RequestListener {
  return (request, response) => {
    if (request.url?.startsWith('/internal/callers/identify') !== true) {
      listener(request, response);
      return;
    }
    const { isGone = false, ...known } = who;
    const caller = { owner: 'key:a', role: 'submit', credential: 'key:a', human_readable_id: null };
    answerIdentify(request, response, async (bearer) =>
      isGone || bearer === wrongKey ? undefined : { ...caller, ...known },
    );
  };
}

/** Says whose a credential is, or several are; undefined: nobody's. */
export function answerIdentify(
  request: IncomingMessage,
  response: ServerResponse,
  whose: (bearer: string) => Promise<object | undefined>,
): void {
  void text(request).then(async (body) => {
    const shown = JSON.parse(body) as { bearer?: string; address?: string; bearers?: string[] };
    const { bearer, address, bearers = [] } = shown;
    if (bearer === undefined) {
      const callers = await Promise.all(bearers.map(async (one) => (await whose(one)) ?? null));
      response.end(JSON.stringify({ callers }));
      return;
    }
    const caller = await whose(bearer);
    if (caller === undefined) refuseCredential(response);
    else response.end(JSON.stringify({ ...caller, address }));
  });
}

/** As private-api does. */
export function refuseCredential(response: ServerResponse): void {
  response.writeHead(401, { 'content-type': problemType });
  response.end(
    JSON.stringify({
      type: 'about:blank',
      title: 'Credentials missing or wrong',
      status: 401,
      detail: 'The credentials are not known.',
      code: 'UNAUTHORIZED',
      parameter: 'credential',
    }),
  );
}

/** Sends headers that fetch does not let through. */
export async function send(
  url: string,
  options: RequestOptions,
  body?: Buffer | string,
): Promise<{ status: number; headers: IncomingMessage['headers']; text: string }> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    httpRequest(url, options, resolve).on('error', reject).end(body);
  });
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  return {
    status: answer.statusCode ?? 0,
    headers: answer.headers,
    text: Buffer.concat(chunks).toString(),
  };
}

export async function problemOf(answer: Response): Promise<Record<string, unknown>> {
  return (await answer.json()) as Record<string, unknown>;
}

/** A promise and what settles it. */
export function deferred<Value = void>(): {
  promise: Promise<Value>;
  resolve: (value: Value) => void;
} {
  let resolve!: (value: Value) => void;
  const promise = new Promise<Value>((settle) => (resolve = settle));
  return { promise, resolve };
}
