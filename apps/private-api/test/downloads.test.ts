import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, rm, truncate } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import AdmZip from 'adm-zip';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openFilesBelow, waitUntil } from '@inference-server/testing';
import { formOf, runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';
import { claimTask } from './task-helpers.js';

let api: RunningPrivateApi;
const zips = { output: bigZip(), input: bigZip(), files: bigZip() };
let finishedUid: string;
let runningUid: string;
let consumer: Awaited<ReturnType<typeof claimTask>>;

beforeAll(async () => {
  api = await runPrivateApi();
  const registration =
    '/api/models/?container_tag=busybox:1&human_readable_id=files&model_available=true';
  const posted = await api.call(registration, {
    method: 'POST',
    body: formOf(['zip_file', zips.files]),
  });
  expect(posted.status).toBe(200);
  finishedUid = await api.postTask('files');
  consumer = await claimTask(api, finishedUid);
  await consumer.finish(finishedUid, zips.output);
  runningUid = await api.postTask('files', zips.input);
  await claimTask(api, runningUid);
});
afterAll(() => api.close());

function bigZip(): Buffer<ArrayBuffer> {
  const zip = new AdmZip();
  zip.addFile('noise', randomBytes(3_000_000));
  return Buffer.from(zip.toBuffer());
}

type What = keyof typeof zips;
const whats: What[] = ['output', 'input', 'files'];

function ask(what: What, headers: Record<string, string> = {}, method = 'GET') {
  if (what === 'output') return api.call(`/api/tasks/${finishedUid}`, { method, headers });
  const name = what === 'input' ? 'input' : 'model-files';
  const lease = `epoch=1&holder=${consumer.holder}`;
  const path = `/internal/attempts/${runningUid}/1/${name}?${lease}`;
  return api.call(path, { method, headers }, consumer.token);
}

const etagOf = (what: What) => `"${createHash('sha256').update(zips[what]).digest('hex')}"`;
/** Without those of the connection: what is asked with HEAD closes it. */
function headersOf(answer: Response): Record<string, string> {
  const headers = new Headers(answer.headers);
  for (const name of ['date', 'connection', 'keep-alive']) headers.delete(name);
  return Object.fromEntries(headers);
}

/** Reads the rest too: it would hold the connection. */
async function statusOf(asked: Promise<Response>): Promise<number> {
  const answer = await asked;
  await answer.arrayBuffer();
  return answer.status;
}

const bytesOf = async (answer: Response) => Buffer.from(await answer.arrayBuffer());

describe.each(whats)('%s', (what) => {
  const zip = zips[what];
  const etag = etagOf(what);

  it('comes with what names it, and HEAD says the same', async () => {
    const answer = await ask(what);
    const headers = headersOf(answer);
    expect(answer.status).toBe(200);
    expect((await bytesOf(answer)).equals(zip)).toBe(true);
    expect(headers).toMatchObject({
      etag,
      'accept-ranges': 'bytes',
      'cache-control': 'private, no-cache, no-transform',
      'content-type': 'application/zip',
      'content-length': String(zip.length),
      'x-content-type-options': 'nosniff',
    });
    expect(headers['content-disposition']).toBe(
      what === 'output' ? `attachment; filename="${finishedUid}.zip"` : undefined,
    );
    const modified = headers['last-modified'] ?? '';
    expect(new Date(modified).toUTCString()).toBe(modified);
    expect(Math.abs(Date.parse(modified) - Date.now())).toBeLessThan(120_000);

    const head = await ask(what, {}, 'HEAD');
    expect(head.status).toBe(200);
    expect(headersOf(head)).toEqual(headers);
    expect(await head.text()).toBe('');
  });

  it.each([
    ['bytes=0-0', 0, 1],
    ['bytes=5-', 5, undefined],
    ['bytes=1000000-1999999', 1_000_000, 2_000_000],
    ['bytes=-22', -22, undefined],
    ['bytes=2999999-99999999999', 2_999_999, undefined],
  ])('comes in part: %s', async (range, start, end) => {
    const answer = await ask(what, { range, 'if-range': etag });
    expect(answer.status).toBe(206);
    const part = zip.subarray(start, end);
    const from = start < 0 ? zip.length + start : start;
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      etag,
      'content-length': String(part.length),
      'content-range': `bytes ${from}-${from + part.length - 1}/${zip.length}`,
    });
    expect((await bytesOf(answer)).equals(part)).toBe(true);
  });

  it('is put together from its parts', async () => {
    const parts: Buffer[] = [];
    for (let start = 0; start < zip.length; start += 1_000_000) {
      const range = `bytes=${start}-${start + 999_999}`;
      const answer = await ask(what, { range, 'if-match': etag });
      expect(answer.status).toBe(206);
      parts.push(await bytesOf(answer));
    }
    expect(Buffer.concat(parts).equals(zip)).toBe(true);
  });

  it.each(['bytes=0-1,5-6', 'bytes=9-5', 'bytes=x-', 'lines=1-2', 'bytes=0-1;q=1'])(
    'comes whole for %s',
    async (range) => {
      const answer = await ask(what, { range });
      expect([answer.status, answer.headers.get('content-range')]).toEqual([200, null]);
      expect((await bytesOf(answer)).equals(zip)).toBe(true);
    },
  );

  it.each<[Record<string, string>, number, string | undefined]>([
    [{ range: 'bytes=99999999-' }, 416, 'RANGE_NOT_SATISFIABLE'],
    [{ range: 'bytes=-0' }, 416, 'RANGE_NOT_SATISFIABLE'],
    [{ range: 'bytes=99999999-', 'if-range': '"other"' }, 200, undefined],
    [{ range: 'bytes=0-0', 'if-range': `W/${etag}` }, 200, undefined],
    [{ 'if-match': etag }, 200, undefined],
    [{ 'if-match': '*' }, 200, undefined],
    [{ 'if-match': `"other", W/${etag}` }, 412, 'PRECONDITION_FAILED'],
    [{ 'if-match': '"other"', range: 'bytes=99999999-' }, 412, 'PRECONDITION_FAILED'],
    [{ 'if-none-match': etag }, 304, undefined],
    [{ 'if-none-match': `"other", W/${etag}`, range: 'bytes=0-0' }, 304, undefined],
    [{ 'if-none-match': '*' }, 304, undefined],
    [{ 'if-none-match': '"other"' }, 200, undefined],
    [{ 'if-modified-since': new Date(0).toUTCString() }, 200, undefined],
    [{ 'if-modified-since': new Date(Date.now() + 60_000).toUTCString() }, 304, undefined],
    [{ 'if-unmodified-since': new Date(0).toUTCString() }, 412, 'PRECONDITION_FAILED'],
    [{ 'if-unmodified-since': new Date(Date.now() + 60_000).toUTCString() }, 200, undefined],
  ])('under %j: %i', async (headers, status, code) => {
    const answer = await ask(what, headers);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    if (code === undefined) {
      expect(answer.headers.get('etag')).toBe(etag);
      expect((await bytesOf(answer)).length).toBe(status === 200 ? zip.length : 0);
    } else {
      expect(answer.headers.get('content-type')).toContain('application/problem+json');
      expect(await answer.json()).toMatchObject({ status, code });
    }
    const range = answer.headers.get('content-range');
    expect(range).toBe(status === 416 ? `bytes */${zip.length}` : null);
    const conditions = { ...headers };
    delete conditions['range'];
    const ofHead = await statusOf(ask(what, headers, 'HEAD'));
    expect(ofHead).toBe(status === 416 ? 200 : await statusOf(ask(what, conditions)));
  });

  it('goes by the second it was stored in', async () => {
    const head = await ask(what, {}, 'HEAD');
    const modified = head.headers.get('last-modified') ?? '';
    const earlier = new Date(Date.parse(modified) - 1000).toUTCString();
    for (const [headers, status] of [
      [{ 'if-modified-since': modified }, 304],
      [{ 'if-modified-since': earlier }, 200],
      [{ 'if-unmodified-since': modified }, 200],
      [{ 'if-unmodified-since': earlier }, 412],
      [{ range: 'bytes=0-0', 'if-range': modified }, 206],
      [{ range: 'bytes=0-0', 'if-range': earlier }, 200],
    ] as [Record<string, string>, number][]) {
      expect([headers, await statusOf(ask(what, headers))]).toEqual([headers, status]);
    }
  });
});

describe('what is not 200 looks at no condition', () => {
  const conditions = {
    'if-match': '"other"',
    'if-none-match': '*',
    'if-unmodified-since': new Date(0).toUTCString(),
    range: 'bytes=99999999-',
  };

  it('a task that runs, is deleted, or is not there', async () => {
    const deleted = await api.postTask('files');
    await api.call(`/api/tasks/${deleted}`, { method: 'DELETE' });
    for (const method of ['GET', 'HEAD']) {
      for (const [uid, status] of [
        [runningUid, 551],
        [deleted, 554],
        ['A'.repeat(43), 554],
        ['short', 554],
      ] as const) {
        const answer = await api.call(`/api/tasks/${uid}`, { method, headers: conditions });
        await answer.arrayBuffer();
        expect([uid, answer.status]).toEqual([uid, status]);
        expect(answer.headers.get('etag')).toBeNull();
        if (status === 551) expect(answer.headers.get('retry-after')).toBe('1');
      }
    }
  });

  it('a lease that is not held, a route without a zip', async () => {
    const other = api.consumer('c1', 'another process');
    expect(await statusOf(other.fetch(runningUid, 'input'))).toBe(409);
    const log = await api.call(`/api/tasks/${finishedUid}/log`, { headers: conditions });
    expect([log.status, await log.text()]).toEqual([200, 'one\ntwo\n']);
  });
});

describe('HEAD', () => {
  it('waits as GET does', async () => {
    const uid = await api.postTask('files');
    const worker = await claimTask(api, uid);
    const started = performance.now();
    const over = await api.call(`/api/tasks/${uid}?wait=0.5`, { method: 'HEAD' });
    expect([over.status, performance.now() - started > 450]).toEqual([551, true]);
    const waiting = api.call(`/api/tasks/${uid}?wait=20`, { method: 'HEAD' });
    await worker.finish(uid, zips.output);
    expect((await waiting).headers.get('etag')).toBe(etagOf('output'));
    expect(performance.now() - started).toBeLessThan(15_000);
  });

  it.each(['/', '/healthz', '/readyz', '/api/models/', '/docs', '/openapi.json'])(
    'of %s says what GET says',
    async (path) => {
      const get = await api.call(path);
      await get.arrayBuffer(); // what is not read keeps its connection, when it is long enough
      const head = await api.call(path, { method: 'HEAD' });
      expect(head.status).toBe(get.status);
      expect(headersOf(head)).toEqual(headersOf(get));
      expect(await head.text()).toBe('');
    },
  );

  it('of a log says its length', async () => {
    const head = await api.call(`/api/tasks/${finishedUid}/log`, { method: 'HEAD' });
    expect(head.headers.get('content-length')).toBe(String('one\ntwo\n'.length));
  });
});

describe('a blob', () => {
  async function finishedTask(): Promise<{ uid: string; path: string }> {
    const before = await blobFiles();
    const uid = await api.postTask('files', zipOf({ a: 'b' }));
    const input = (await blobFiles()).filter((file) => !before.includes(file));
    await (await claimTask(api, uid)).finish(uid, zips.output);
    const [path] = (await blobFiles()).filter((file) => ![...before, ...input].includes(file));
    return { uid, path: path ?? '' };
  }

  async function blobFiles(): Promise<string[]> {
    const folder = join(api.config.STORAGE_URL, 'blobs');
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
  }

  it('whose bytes are gone is 553 whatever is asked', async () => {
    const { uid, path } = await finishedTask();
    await rm(path);
    for (const method of ['GET', 'HEAD']) {
      for (const headers of [
        {},
        { 'if-none-match': '*' },
        { 'if-match': '"a"' },
        { range: 'bytes=0-' },
      ] as Record<string, string>[]) {
        const status = await statusOf(api.call(`/api/tasks/${uid}`, { method, headers }));
        expect([method, headers, status]).toEqual([method, headers, 553]);
      }
    }
  });

  it('that is not as long as its row says is a fault, never a wrong answer', async () => {
    const { uid, path } = await finishedTask();
    await truncate(path, 1000);
    for (const method of ['GET', 'HEAD']) {
      const answer = await api.call(`/api/tasks/${uid}`, { method });
      expect(answer.status).toBe(500);
      expect(await answer.text()).not.toContain(path);
    }
  });

  it('is let go of by every answer, and by a client that goes away', async () => {
    const isFree = async () => (await openFilesBelow(api.config.STORAGE_URL)).length === 0;
    for (const what of whats) {
      await ask(what, {}, 'HEAD');
      await ask(what, { 'if-none-match': '*' });
      await statusOf(ask(what, { 'if-match': '"other"' }));
      await statusOf(ask(what, { range: 'bytes=99999999-' }));
      const request = get(`${api.base}/api/tasks/${finishedUid}`, {
        headers: { authorization: `Bearer ${api.operatorToken}` },
      });
      const [answer] = (await once(request, 'response')) as [IncomingMessage];
      await once(answer, 'readable');
      request.destroy();
    }
    expect(await waitUntil(isFree, { timeoutMs: 5_000 })).toBe(true);
  });
});
