import { createServer } from 'node:http';
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import AdmZip from 'adm-zip';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  launchBrowser,
  whenFileEnds,
  type BrowserContext,
  type BrowserPage,
  type TestApp,
} from '@inference-server/testing';
import { call, embed, frameOf, listenTo, postForm } from '../in-page.mjs';
import { runServer, type RunningServer } from '../running-server.js';

/**
 * Somebody at the machine of a server that lets in callers without a key, as `npm start` does, opens a page
 * of somebody else: nothing that it sends may change anything.
 */
let server: RunningServer;
let door: TestApp;
let browser: BrowserContext;
/** A page of another site. */
let stranger: string;
/** A name of somebody else that leads to this machine by now, with the port of the server. */
let rebound: string;
const zip = new AdmZip();
zip.addFile('run.sh', Buffer.from('true'));
const zipText = zip.toBuffer().toString('latin1');

beforeAll(async () => {
  server = await runServer();
  browser = await launchBrowser({
    hosts: { 'stranger.test': '127.0.0.1', 'rebound.test': elsewhere },
  });
  stranger = `http://stranger.test:${await startSite()}`;
  const { port } = new URL(server.publicApiUrl);
  rebound = `http://rebound.test:${port}`;
  await startRebound(Number(port));
  await server.startPrivateApi();
  door = await server.startPublicApi();
  await server.postModel('there');
  uid = await server.client.postTask({ human_readable_id: 'there', zip: zip.toBuffer() });
}, 60_000);

const elsewhere = '127.0.0.2';
let uid: string;
let before: unknown;
beforeEach(async () => {
  before = await rows();
});

const newModel = '/api/models/?container_tag=busybox:1&human_readable_id=forged';
const newModelAsTask = '/api/tasks/?container_tag=busybox:1&human_readable_id=forged';
const newTask = '/api/tasks/?human_readable_id=there';
const put = '/api/models/there?container_tag=forged:1';

/** What a page can send without asking first, and what only after a preflight. */
const simple = [newModel, newModelAsTask, newTask].flatMap((path) =>
  ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=b'].map(
    (type) => ({ method: 'POST', path, headers: { 'content-type': type } }),
  ),
);
const preflighted = [
  { method: 'POST', path: newTask, headers: { 'content-type': 'application/zip' } },
  { method: 'POST', path: newModel, headers: { 'x-own': '1' } },
  { method: 'PUT', path: put, headers: {} },
  { method: 'DELETE', path: '/api/models/there', headers: {} },
];

it('without a page, the same is posted', async () => {
  const headers = { 'content-type': 'application/zip' };
  const answer = await fetch(server.publicApiUrl + newTask, {
    method: 'POST',
    headers,
    body: zip.toBuffer(),
  });
  expect(answer.status).toBe(200);
  expect(await rows()).not.toEqual(before);
});

describe.each([
  ['a page of another site', () => pageOf(stranger)],
  ['a page in a frame without an origin', () => framed()],
])('%s', (_what, open) => {
  it('posts nothing by a form', async () => {
    for (const enctype of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data',
    ]) {
      for (const path of [newModel, newModelAsTask, newTask]) {
        const { page, at } = await open();
        const refusedBefore = await countRefused();
        await at.evaluate(postForm, { url: server.publicApiUrl + path, enctype, zipText });
        await expect.poll(() => countRefused(), { timeout }).toBe(refusedBefore + 1);
        await page.close();
      }
    }
    expect(await rows()).toEqual(before);
  });

  it('posts nothing by fetch that asks nobody first', async () => {
    const { page, at } = await open();
    const refusedBefore = await countRefused();
    for (const { path, ...how } of simple) {
      const asked = { url: server.publicApiUrl + path, ...how, zipText, mode: 'no-cors' };
      expect([path, await at.evaluate(call, asked)]).toEqual([path, 'TypeError']);
    }
    // They went out, and came here.
    await expect.poll(() => countRefused(), { timeout }).toBe(refusedBefore + simple.length);
    expect(await rows()).toEqual(before);
    await page.close();
  });

  it('gets nothing by an image, a script or a style', async () => {
    const { page, at } = await open();
    const refusedBefore = await countRefused('GET');
    const tags = ['img', 'script', 'link'] as const;
    for (const tag of tags) {
      const url = `${server.publicApiUrl}/api/models/`;
      expect([tag, await at.evaluate(embed, { tag, url })]).toEqual([tag, 'error']);
    }
    const refusedNow = () => countRefused('GET');
    await expect.poll(refusedNow, { timeout }).toBe(refusedBefore + tags.length);
    await page.close();
  });

  it('sends nothing that it has to ask for first', async () => {
    const { page, at } = await open();
    for (const { path, ...how } of [...simple, ...preflighted]) {
      const asked = { url: server.publicApiUrl + path, ...how, zipText, mode: 'cors' };
      expect([path, await at.evaluate(call, asked)]).toEqual([path, 'TypeError']);
    }
    expect(await rows()).toEqual(before);
    await page.close();
  });

  it('opens no socket and no stream of events', async () => {
    const { page, at } = await open();
    const { host } = new URL(server.publicApiUrl);
    for (const path of ['/', '/api/models/', `/api/tasks/${uid}`]) {
      for (const url of [`ws://${host}${path}`, `http://${host}${path}`]) {
        expect([url, await at.evaluate(listenTo, url)]).toEqual([url, 'error']);
      }
    }
    await page.close();
  });
});

describe('a page under a name that leads to this machine by now', () => {
  it('is refused whatever it asks, though the browser takes the server for its own', async () => {
    const { page, at } = await pageOf(rebound, { isFirstElsewhere: true });
    const tasks = `/api/tasks/${uid}`;
    for (const { path, ...how } of [
      ...[tasks, `${tasks}/log`, '/api/models/', '/api/models/there'].map((one) => ({
        ...{ method: 'GET', path: one, headers: {} },
      })),
      ...simple,
      ...preflighted,
      { method: 'DELETE', path: tasks, headers: {} },
    ]) {
      const asked = { url: rebound + path, ...how, zipText, mode: 'cors' };
      expect([how.method, path, await at.evaluate(call, asked)]).toEqual([
        ...[how.method, path],
        'basic 403',
      ]);
    }
    // It is this server that it asks.
    const greeting = { url: `${rebound}/healthz`, method: 'GET', headers: {}, mode: 'cors' };
    expect(await at.evaluate(call, { ...greeting, zipText })).toBe('basic 200');
    expect(await rows()).toEqual(before);
    await page.close();
  });
});

/** All that a caller could have changed. */
async function rows(): Promise<unknown> {
  return server.database.query(
    `SELECT (SELECT count(*)::int FROM tasks WHERE deleted_at IS NULL) AS tasks,
            (SELECT json_agg(m ORDER BY m) FROM model_versions m) AS models,
            (SELECT count(*)::int FROM models) AS names, (SELECT count(*)::int FROM blobs) AS blobs`,
  );
}

/** How long a browser may take to send something (ms). */
const timeout = 10_000;

/** Requests that the server has answered with a 403: its log is read to the end of it again and again. */
const refused = new Set<string>();
async function countRefused(method = 'POST'): Promise<number> {
  for (const line of (await door.log()).split('\n')) {
    const [, id, by] = /"reqId":"([^"]+)".*"method":"(\w+)".*"status":403/.exec(line) ?? [];
    if (id !== undefined) refused.add(`${by} ${id}`);
  }
  return [...refused].filter((one) => one.startsWith(`${method} `)).length;
}

type Asker = Pick<BrowserPage, 'evaluate'>;

async function pageOf(
  url: string,
  { isFirstElsewhere = false } = {},
): Promise<{ page: BrowserPage; at: Asker }> {
  const page = await browser.newPage();
  leadsHere = !isFirstElsewhere;
  await page.goto(`${url}/`);
  leadsHere = true;
  return { page, at: page };
}

/** As of a page that somebody has saved, or that another site has put into a sandbox. */
async function framed(): Promise<{ page: BrowserPage; at: Asker }> {
  const { page } = await pageOf(stranger);
  await page.evaluate(frameOf, empty);
  await expect.poll(() => page.frames().length).toBe(2);
  const [, at] = page.frames();
  expect(await at?.evaluate('origin')).toBe('null');
  return { page, at: at ?? expect.fail('there is no frame') };
}

const empty = '<!doctype html><meta charset="utf-8"><body></body>';

/** Whether the name `rebound.test` leads to the server by now, and not to a page of somebody else. */
let leadsHere = true;

/** What is behind that name, at the port of the server: whoever gives names can change where they lead. */
async function startRebound(port: number): Promise<void> {
  const open = new Set<Socket>();
  const place = createTcpServer((socket) => {
    open.add(socket.on('error', () => undefined));
    socket.once('data', (first) => {
      if (!leadsHere) {
        const head = `Content-Type: text/html\r\nContent-Length: ${empty.length}`;
        socket.end(`HTTP/1.1 200 OK\r\n${head}\r\nConnection: close\r\n\r\n${empty}`);
        return;
      }
      const there = connect(port, '127.0.0.1', () => socket.pipe(there).pipe(socket));
      open.add(there.on('error', () => socket.destroy()));
      there.write(first);
    });
  });
  await new Promise<void>((resolve) => place.listen(port, elsewhere, resolve));
  whenFileEnds('rebound', async () => {
    for (const socket of open) socket.destroy();
    await new Promise((resolve) => place.close(resolve));
  });
}

/** A site with one empty page; its port. */
async function startSite(): Promise<number> {
  const site = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html').end(empty);
  });
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
  whenFileEnds('site', async () => {
    site.closeAllConnections();
    await new Promise((resolve) => site.close(resolve));
  });
  return (site.address() as AddressInfo).port;
}
