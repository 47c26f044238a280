import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { AppError } from '@inference-server/errors';
import { rawExchange, type RawStep } from '@inference-server/testing';
import { createHttpServer, keepUploadPace, type UploadPace } from '../src/index.js';

/**
 * A server of ours with routes that treat their body in every way, and a list of what was executed.
 * Closed when the test ends.
 */
export async function startProbe(
  options: { headersTimeoutMs?: number; pace?: UploadPace; silenceMs?: number } = {},
): Promise<{
  executed: string[];
  release: () => void;
  exchange: (steps: RawStep[], expected?: number) => ReturnType<typeof rawExchange>;
}> {
  const executed: string[] = [];
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const app = createHttpServer({ logger: pino({ level: 'silent' }), ...options });
  if (options.silenceMs !== undefined) app.server.setTimeout(options.silenceMs);
  if (options.pace !== undefined) keepUploadPace(app, options.pace);
  app.addContentTypeParser('application/zip', (_request, payload, done) => done(null, payload));

  app.get('/ping', () => {
    executed.push('ping');
    return { pong: true };
  });
  app.get('/held', async () => {
    await released;
    executed.push('held');
    return { held: true };
  });
  app.post('/read', async ({ body }) => ({ bytes: await readAll(body as Readable) }));
  app.post('/checked', async ({ body }) => {
    const bytes = await readAll(body as Readable);
    await released;
    return { bytes };
  });
  app.post('/json', ({ body }) => ({ body }));
  app.post('/refused', () => {
    throw new AppError('MODEL_NOT_FOUND', 'There is none.');
  });
  app.post('/paused', async ({ body }) => ({
    bytes: await readAll(body as Readable, () => released),
  }));
  app.post('/later', async ({ body }) => {
    await released;
    return { bytes: await readAll(body as Readable) };
  });

  await app.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(async () => {
    app.server.closeAllConnections();
    await app.close();
  });
  const { port } = app.server.address() as AddressInfo;
  return {
    executed,
    release,
    exchange: (steps, expected = Infinity) => rawExchange(port, steps, { expected }),
  };

  async function readAll(body: Readable, afterEach?: () => Promise<void>): Promise<number> {
    let bytes = 0;
    for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      await afterEach?.();
    }
    executed.push(`read ${bytes}`);
    return bytes;
  }
}

export function get(path: string, fields = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${fields}\r\n`;
}

export function post(path: string, fields: string, body = ''): string {
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\n${fields}\r\n${body}`;
}
