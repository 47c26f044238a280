import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import AdmZip from 'adm-zip';
import { beforeAll, describe, expect, it } from 'vitest';
import { openFilesBelow, waitUntil, type TestApp } from '@inference-server/testing';
import { runServer, type RunningServer } from '../running-server.js';

let server: RunningServer;
let privateApi: TestApp;
let uid: string;
let zip: Buffer;
let etag: string;

/** More than both hops hold in their buffers. */
const makeOutput = 'head -c 40000000 /dev/urandom > /output/noise; echo done';

beforeAll(async () => {
  server = await runServer();
  privateApi = await server.startPrivateApi();
  await server.startPublicApi();
  await server.startConsumer();
  await server.postModel('script');
  uid = await post(makeOutput);
  const output = await server.client.waitForTask(uid, { signal: AbortSignal.timeout(40_000) });
  zip = Buffer.from(await new Response(output.zip).arrayBuffer());
  etag = `"${createHash('sha256').update(zip).digest('hex')}"`;
  expect([output.bytes, `"${output.sha256 ?? ''}"`]).toEqual([zip.length, etag]);
}, 90_000);

async function post(script: string): Promise<string> {
  const input = new AdmZip();
  input.addFile('run.sh', Buffer.from(script));
  return server.client.postTask({ human_readable_id: 'script', zip: input.toBuffer() });
}

const ask = (headers: Record<string, string> = {}, method = 'GET', of = uid) =>
  fetch(`${server.publicApiUrl}/api/tasks/${of}`, { method, headers });

describe('the output of a task, over both hops', () => {
  it('is a zip that holds what the container wrote, and HEAD describes it', async () => {
    expect(new AdmZip(zip).getEntry('noise')?.header.size).toBe(40_000_000);
    const head = await ask({}, 'HEAD');
    expect(head.status).toBe(200);
    expect(Object.fromEntries(head.headers)).toMatchObject({
      etag,
      'accept-ranges': 'bytes',
      'content-length': String(zip.length),
      'content-type': 'application/zip',
      'content-disposition': `attachment; filename="${uid}.zip"`,
      'cache-control': 'private, no-cache, no-transform',
      'x-content-type-options': 'nosniff',
    });
  });

  it('is gone on with where a download broke off', async () => {
    const request = get(`${server.publicApiUrl}/api/tasks/${uid}`);
    const [answer] = (await once(request, 'response')) as [IncomingMessage];
    const parts: Buffer[] = [];
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      parts.push(chunk);
      if (Buffer.concat(parts).length > 5_000_000) break;
    }
    const got = Buffer.concat(parts);
    const rest = await ask({ range: `bytes=${got.length}-`, 'if-range': etag });
    expect(rest.status).toBe(206);
    expect(rest.headers.get('content-range')).toBe(
      `bytes ${got.length}-${zip.length - 1}/${zip.length}`,
    );
    const whole = Buffer.concat([got, Buffer.from(await rest.arrayBuffer())]);
    expect(whole.equals(zip)).toBe(true);
  });

  it.each<[Record<string, string>, number]>([
    [{ 'if-none-match': '*' }, 304],
    [{ 'if-modified-since': new Date(Date.now() + 60_000).toUTCString() }, 304],
    [{ 'if-match': '"other"' }, 412],
    [{ 'if-unmodified-since': new Date(0).toUTCString() }, 412],
    [{ range: 'bytes=999999999-' }, 416],
    [{ range: 'bytes=-1' }, 206],
    [{ range: 'bytes=0-9', 'if-range': '"other"' }, 200],
    [{ range: 'bytes=0-0,5-5' }, 200],
  ])('under %j: %i', async (headers, status) => {
    const answer = await ask(headers);
    expect(answer.status).toBe(status);
    const body = Buffer.from(await answer.arrayBuffer());
    if (status === 304) expect([body.length, answer.headers.get('etag')]).toEqual([0, etag]);
    if (status === 200) expect(body.equals(zip)).toBe(true);
    if (status === 206) expect(body.equals(zip.subarray(-1))).toBe(true);
    if (status > 400) expect(JSON.parse(body.toString())).toMatchObject({ status });
  });

  it('frees the file when the client goes away', async () => {
    const storage = join(server.folder, 'storage');
    const opened = async () => (await openFilesBelow(storage, privateApi.pid)).length;
    const request = get(`${server.publicApiUrl}/api/tasks/${uid}`);
    const [answer] = (await once(request, 'response')) as [IncomingMessage];
    await once(answer, 'readable');
    expect(await opened()).toBe(1);
    request.destroy();
    expect(await waitUntil(async () => (await opened()) === 0, { timeoutMs: 5_000 })).toBe(true);
  });
});

it('HEAD waits for the end of a task', async () => {
  const running = await post('sleep 1; echo done > /output/a');
  expect((await ask({ 'if-none-match': '*', range: 'bytes=9-' }, 'HEAD', running)).status).toBe(
    551,
  );
  const head = await ask({}, 'HEAD', `${running}?wait=30`);
  expect(head.status).toBe(200);
  const got = Buffer.from(await (await ask({}, 'GET', running)).arrayBuffer());
  expect(head.headers.get('content-length')).toBe(String(got.length));
});
