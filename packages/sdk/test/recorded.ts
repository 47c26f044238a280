import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { createClient, type Client } from '../src/index.js';

/** A real server in the place of ours, and a client of it. */
export async function serve(
  listener: RequestListener,
  options: { token?: string } = {},
): Promise<{ client: Client; url: string }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  return { client: createClient({ baseUrl: url, ...options }), url };
}

/** Answers with JSON and keeps what was asked. */
export async function record(
  answer: unknown,
  options: { token?: string } = {},
): Promise<{ client: Client; seen: { request: IncomingMessage; body: Buffer }[] }> {
  const seen: { request: IncomingMessage; body: Buffer }[] = [];
  const { client } = await serve((request, response) => {
    void buffer(request).then((body) => {
      seen.push({ request, body });
      response.end(JSON.stringify(answer));
    });
  }, options);
  return { client, seen };
}

export function problem(
  status: number,
  fields: object,
  headers: Record<string, string> = {},
): RequestListener {
  return (request, response) => {
    request.resume();
    response.writeHead(status, { 'content-type': 'application/problem+json', ...headers });
    response.end(JSON.stringify({ type: 'about:blank', title: '', status, ...fields }));
  };
}
