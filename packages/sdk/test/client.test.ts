import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, expect, onTestFinished, test } from 'vitest';
import { AppError, createClient, type ZipSource } from '../src/index.js';
import { problem, record, serve } from './recorded.js';

const uid = 'A'.repeat(43);

describe('requests', () => {
  test('a registration without files', async () => {
    const { client, seen } = await record({ human_readable_id: 'a b' });
    const model = await client.postModel({
      container_tag: 'copy:1',
      human_readable_id: 'a b',
      use_gpu: true,
      timeout_s: 60,
    });
    expect(model.human_readable_id).toBe('a b');
    const { request, body } = seen[0] ?? {};
    const url = new URL(request?.url ?? '', 'http://server');
    expect([request?.method, url.pathname]).toEqual(['POST', '/api/models/']);
    expect(Object.fromEntries(url.searchParams)).toEqual({
      container_tag: 'copy:1',
      human_readable_id: 'a b',
      use_gpu: 'true',
      timeout_s: '60',
      model_available: 'false',
    });
    expect(request?.headers['content-type']).toBeUndefined();
    expect(request?.headers.authorization).toBeUndefined();
    expect(body).toHaveLength(0);
  });

  test('a registration with files says so', async () => {
    const { client, seen } = await record({});
    await client.postModel({ container_tag: 'a', human_readable_id: 'a', zip: Buffer.from('zip') });
    await client.putModel({ container_tag: 'a', human_readable_id: 'a', zip: Buffer.from('zip') });
    for (const { request, body } of seen) {
      expect(request.url).toContain('model_available=true');
      expect(body.toString()).toBe('zip');
    }
    expect(seen.map(({ request }) => request.method)).toEqual(['POST', 'PUT']);
  });

  test('the other routes, under a token and below a prefix', async () => {
    const urls: unknown[] = [];
    const { url } = await serve((request, response) => {
      urls.push([request.method, request.url, request.headers.authorization]);
      response.end('[]');
    });
    const client = createClient({ baseUrl: `${url}/prefix`, token: 'secret' });
    await client.listModels();
    await client.getModel('a b');
    await client.deleteModel('a/b');
    await client.putModel({ human_readable_id: 'a:b', container_tag: 'c:1' });
    await client.getTaskLog('a/b');
    await client.deleteTask(uid);
    await client.getReadiness();
    expect(urls).toEqual([
      ['GET', '/prefix/api/models/', 'Bearer secret'],
      ['GET', '/prefix/api/models/a%20b', 'Bearer secret'],
      ['DELETE', '/prefix/api/models/a%2Fb', 'Bearer secret'],
      [
        'PUT',
        '/prefix/api/models/a%3Ab?container_tag=c%3A1&model_available=false',
        'Bearer secret',
      ],
      ['GET', '/prefix/api/tasks/a%2Fb/log', 'Bearer secret'],
      ['DELETE', `/prefix/api/tasks/${uid}`, 'Bearer secret'],
      ['GET', '/prefix/readyz', 'Bearer secret'],
    ]);
  });
});

describe('uploads', () => {
  const bytes = Buffer.alloc(3_000_000, 'zip');

  async function tempFile(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'sdk-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, 'input.zip'), bytes);
    return join(folder, 'input.zip');
  }

  const sources: [string, () => ZipSource | Promise<ZipSource>, boolean][] = [
    ['the path of a file', tempFile, true],
    ['a Blob', () => new Blob([bytes]), true],
    ['a Uint8Array', () => new Uint8Array(bytes), true],
    ['a Readable', () => Readable.from([bytes.subarray(0, 10), bytes.subarray(10)]), false],
    ['a ReadableStream', () => new Blob([bytes]).stream(), false],
  ];

  test('with the key of a post that may be sent again', async () => {
    const { client, seen } = await record(uid);
    await client.postTask({ human_readable_id: 'copy', zip: bytes, idempotency_key: 'k 1' });
    await client.postTask({ human_readable_id: 'copy', zip: bytes });
    expect(seen.map(({ request }) => request.headers['idempotency-key'])).toEqual([
      'k 1',
      undefined,
    ]);
  });

  test.each(sources)('%s', async (_name, source, lengthIsKnown) => {
    const { client, seen } = await record(uid);
    expect(await client.postTask({ human_readable_id: 'copy', zip: await source() })).toBe(uid);
    const { request, body } = seen[0] ?? {};
    expect(request?.url).toBe('/api/tasks/?human_readable_id=copy');
    expect(request?.headers['content-type']).toBe('application/zip');
    expect(request?.headers['content-length']).toBe(
      lengthIsKnown ? String(bytes.length) : undefined,
    );
    expect(sha256(body ?? Buffer.alloc(0))).toBe(sha256(bytes));
  });

  test('a file that is not there', async () => {
    const { client, seen } = await record(uid);
    const posted = client.postTask({ human_readable_id: 'copy', zip: '/nowhere/input.zip' });
    await expect(posted).rejects.toThrow(/cannot be read.*ENOENT/);
    expect(seen).toEqual([]);
  });

  test('a source that fails half-way: its error, and nothing that looks like a whole upload', async () => {
    const whole = recordEnds();
    const { client } = await serve(whole.listener);
    const zip = Readable.from(
      (async function* () {
        yield bytes;
        await whole.begun;
        throw new Error('the disk is gone');
      })(),
    );
    const posted = client.postTask({ human_readable_id: 'copy', zip });
    await expect(posted).rejects.toThrow(/the disk is gone/);
    expect(await whole.ended).toBe('cut');
  });

  test('an abort half-way rejects with its reason and ends the source', async () => {
    const whole = recordEnds();
    const { client } = await serve(whole.listener);
    const zip = new Readable({ read: () => undefined });
    zip.push(bytes);
    const caller = new AbortController();
    const posted = client.postTask({ human_readable_id: 'copy', zip }, { signal: caller.signal });
    await whole.begun;
    caller.abort(new Error('enough'));
    await expect(posted).rejects.toThrow('enough');
    expect(zip.destroyed).toBe(true);
    expect(await whole.ended).toBe('cut');
  });

  test('an answer that comes before the end of the upload', async () => {
    const { client } = await serve(problem(550, { code: 'MODEL_NOT_FOUND', detail: 'none' }));
    const zip = new Readable({ read: () => undefined });
    zip.push(bytes);
    const posted = client.postTask({ human_readable_id: 'unknown', zip });
    await expect(posted).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND', message: 'none' });
    expect(zip.destroyed).toBe(true);
  });
});

describe('getTask', () => {
  test('finished: the zip as a stream', async () => {
    const zip = Buffer.from('zip');
    const { client } = await serve((request, response) => {
      expect(request.url).toBe(`/api/tasks/${uid}?wait=2`);
      response.writeHead(200, { 'content-length': 3, etag: `"${sha256(zip)}"` }).end(zip);
    });
    const answer = await client.getTask(uid, { waitS: 2 });
    if (answer.state !== 'finished') throw new Error(answer.state);
    expect(answer.bytes).toBe(3);
    expect(answer.sha256).toBe(sha256(zip));
    expect((await buffer(answer.zip)).toString()).toBe('zip');
  });

  test('finished, then cut: the stream fails', async () => {
    const { client } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('zip', () => response.destroy());
    });
    const answer = await client.getTask(uid);
    if (answer.state !== 'finished') throw new Error(answer.state);
    expect(answer.sha256).toBeUndefined();
    await expect(buffer(answer.zip)).rejects.toThrow();
  });

  test('pending: what the server tells of it', async () => {
    const task = { state: 'RUNNING', attempt: 2 };
    const fields = { code: 'TASK_PENDING', detail: 'running', task };
    const { client } = await serve(problem(551, fields, { 'retry-after': '3' }));
    expect(await client.getTask(uid)).toEqual({ state: 'pending', task, retryAfterS: 3 });
  });

  test('failed: an error with the report', async () => {
    const task = { state: 'FAILED', attempt: 1, exit_code: 3, log_tail: ['no memory'] };
    const { client } = await serve(problem(552, { code: 'TASK_FAILED', detail: 'exit 3', task }));
    const error = await client.getTask(uid).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(AppError);
    expect(error).toMatchObject({
      code: 'TASK_FAILED',
      status: 552,
      message: 'exit 3',
      extensions: { task },
    });
  });
});

describe('waitForTask', () => {
  test('waits over pending answers and faults that pass', async () => {
    const pending = { code: 'TASK_PENDING', detail: '', task: { state: 'PENDING', attempt: 1 } };
    const away = { code: 'SERVICE_UNAVAILABLE', detail: '' };
    const steps: RequestListener[] = [
      problem(551, pending, { 'retry-after': '0' }),
      problem(503, away, { 'retry-after': '0' }),
      (request) => request.socket.destroy(),
      (_request, response) => response.end('zip'),
    ];
    const asked: (string | undefined)[] = [];
    const { client } = await serve((request, response) => {
      asked.push(request.url);
      steps.shift()?.(request, response);
    });
    const { zip } = await client.waitForTask(uid);
    expect((await buffer(zip)).toString()).toBe('zip');
    expect(asked).toEqual(Array.from({ length: 4 }, () => `/api/tasks/${uid}?wait=60`));
  });

  test('ends with an error that does not pass', async () => {
    const { client } = await serve(problem(554, { code: 'TASK_NOT_FOUND', detail: 'none' }));
    await expect(client.waitForTask(uid)).rejects.toMatchObject({ code: 'TASK_NOT_FOUND' });
  });

  test('ends with its signal, in a pause too', async () => {
    const fields = { code: 'TASK_PENDING', detail: '' };
    const caller = new AbortController();
    const { client } = await serve((request, response) => {
      problem(551, fields, { 'retry-after': '3600' })(request, response);
      response.on('finish', () => caller.abort(new Error('enough')));
    });
    await expect(client.waitForTask(uid, { signal: caller.signal })).rejects.toThrow('enough');
  });
});

describe('errors', () => {
  test('an INTERNAL one shows the id to look up', async () => {
    const fields = { code: 'INTERNAL', detail: 'failed', error_id: 'the-id' };
    const { client } = await serve(problem(500, fields));
    await expect(client.listModels()).rejects.toThrow('failed (the-id)');
  });

  test.each([
    [502, 'SERVICE_UNAVAILABLE'],
    [404, 'NOT_FOUND'],
    [418, 'MALFORMED_REQUEST'],
  ])('an answer %i of something between: %s', async (status, code) => {
    const { client } = await serve((_request, response) => {
      response.writeHead(status, { 'content-type': 'text/html' }).end('<h1>proxy</h1>');
    });
    await expect(client.listModels()).rejects.toMatchObject({ name: 'AppError', code });
  });

  test('a server that is not there', async () => {
    const client = createClient({ baseUrl: 'http://127.0.0.1:9' });
    await expect(client.listModels()).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
  });

  test('a 200 whose body is not JSON', async () => {
    const { client } = await serve((_request, response) => response.end('<h1>page</h1>'));
    await expect(client.listModels()).rejects.toBeInstanceOf(AppError);
  });

  test('readiness under 503 is an answer, a problem under 503 is none', async () => {
    const down = { status: 'down', checks: { private_api: 'down' } };
    const { client } = await serve((_request, response) => {
      response.writeHead(503, { 'content-type': 'application/json; charset=utf-8' });
      response.end(JSON.stringify(down));
    });
    expect(await client.getReadiness()).toEqual(down);
    const other = await serve(problem(503, { code: 'SERVICE_UNAVAILABLE', detail: 'closing' }));
    await expect(other.client.getReadiness()).rejects.toThrow('closing');
  });
});

/** Tells when an upload begins, and whether it came to its end. */
function recordEnds(): {
  listener: RequestListener;
  begun: Promise<void>;
  ended: Promise<'whole' | 'cut'>;
} {
  let begin!: () => void;
  let end!: (how: 'whole' | 'cut') => void;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const ended = new Promise<'whole' | 'cut'>((resolve) => (end = resolve));
  const listener: RequestListener = (request) => {
    request.once('data', begin);
    request.on('end', () => end('whole')).on('error', () => end('cut'));
  };
  return { listener, begun, ended };
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
