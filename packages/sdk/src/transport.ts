import type {
  AnswerOf,
  HeadersOf,
  ParamsOf,
  QueryOf,
  RouteContract,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { errorOfAnswer } from './error-of-answer.js';
import { openForm } from './form-upload.js';
import { openZip, type ZipSource, type ZipUpload } from './zip-upload.js';

export interface ClientOptions {
  /** Where the server is, with its port: `http://localhost:8000`. */
  baseUrl: string;
  /** Sent as `Authorization: Bearer …`. */
  token?: string;
  /**
   * What sends the requests; default: the global `fetch`. Node's own gives up when an answer does
   * not begin within 300 s after the last byte of the request was sent. Uploads may take as long as
   * they take; where the check of a very large zip takes longer than that, hand in a fetch with a
   * longer `headersTimeout`.
   */
  fetch?: typeof fetch;
}

interface Call<Contract extends RouteContract> {
  params?: ParamsOf<Contract>;
  query?: QueryOf<Contract>;
  headers?: HeadersOf<Contract>;
  zip?: ZipSource | undefined;
  /** Goes beside the zip, or alone, in a form. */
  text?: { name: string; value: string } | undefined;
  /** A body of JSON. */
  json?: string;
  signal?: AbortSignal | undefined;
  /** A status beside 200 under which the route's success may come. */
  alsoOk?: number;
}

type QueryValues = Record<string, string | number | boolean | undefined>;

interface Transport {
  /** The successful answer, its body not read yet; rejects with the AppError of any other. */
  call<Contract extends RouteContract>(contract: Contract, call: Call<Contract>): Promise<Response>;
  callForJson<Contract extends RouteContract>(
    contract: Contract,
    call: Call<Contract>,
  ): Promise<AnswerOf<Contract>>;
}

/** Speaks the contracts over fetch. */
export function createTransport({
  baseUrl,
  token,
  fetch = globalThis.fetch,
}: ClientOptions): Transport {
  const base = new URL(baseUrl.endsWith('/') ? baseUrl : `${baseUrl}/`);

  async function call<Contract extends RouteContract>(
    contract: Contract,
    { params, query, headers: own, zip, text, json, signal, alsoOk }: Call<Contract>,
  ): Promise<Response> {
    const url = new URL(pathOf(contract.path, params ?? {}), base);
    for (const [name, value] of Object.entries((query ?? {}) as QueryValues)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const headers = new Headers(own as Record<string, string> | undefined);
    if (token !== undefined) headers.set('authorization', `Bearer ${token}`);
    if (json !== undefined) headers.set('content-type', 'application/json');
    const upload = await openUpload(zip, text);
    if (upload !== undefined) headers.set('content-type', upload.contentType);
    if (upload?.bytes !== undefined) headers.set('content-length', String(upload.bytes));
    try {
      const answer = await fetch(url, {
        method: contract.method,
        headers,
        ...(json === undefined ? {} : { body: json }),
        ...(upload === undefined ? {} : { body: upload.body, duplex: 'half' }),
        ...(signal === undefined ? {} : { signal }),
      });
      if (answer.status === 200 || (answer.status === alsoOk && isJson(answer))) return answer;
      throw await errorOfAnswer(answer);
    } catch (error) {
      signal?.throwIfAborted();
      const failure = upload?.failure();
      if (failure !== undefined) throw failure;
      throw error instanceof AppError ? error : unreachable(base, error);
    } finally {
      await upload?.close();
    }
  }

  async function callForJson<Contract extends RouteContract>(
    contract: Contract,
    options: Call<Contract>,
  ): Promise<AnswerOf<Contract>> {
    const answer = await call(contract, options);
    try {
      return (await answer.json()) as AnswerOf<Contract>;
    } catch (error) {
      options.signal?.throwIfAborted();
      throw unreachable(base, error);
    }
  }

  return { call, callForJson };
}

async function openUpload(
  source: ZipSource | undefined,
  text: { name: string; value: string } | undefined,
): Promise<(ZipUpload & { contentType: string }) | undefined> {
  const zip = source === undefined ? undefined : await openZip(source);
  if (text !== undefined) return openForm(text, zip);
  return zip && { ...zip, contentType: 'application/zip' };
}

/** The contract's path, relative, so that a server may stand below a prefix. */
function pathOf(path: string, params: Record<string, unknown>): string {
  return path
    .replace(/:(\w+)/g, (_match, name: string) => encodeURIComponent(String(params[name])))
    .slice(1);
}

/** A problem body has a content type of its own. */
function isJson({ headers }: Response): boolean {
  return headers.get('content-type')?.startsWith('application/json') ?? false;
}

function unreachable(base: URL, cause: unknown): AppError {
  return new AppError('SERVICE_UNAVAILABLE', `The server at ${base.host} gave no whole answer.`, {
    cause,
  });
}
