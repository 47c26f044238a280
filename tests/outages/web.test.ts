import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  launchBrowser,
  whenFileEnds,
  type BrowserContext,
  type BrowserPage,
} from '@inference-server/testing';
import { embed, frame, frameIsForeign, read, tellOfViolations, writeIn } from '../in-page.mjs';
import { runServer, type RunningServer } from '../running-server.js';

let server: RunningServer;
let browser: BrowserContext;
/** Pages of other sites, of which the second one is let in by CORS_ORIGINS. */
let stranger: string;
let friend: string;

beforeAll(async () => {
  server = await runServer();
  friend = await startSite();
  stranger = await startSite();
  browser = await launchBrowser();
  await server.startPrivateApi();
  await server.startPublicApi({ CORS_ORIGINS: friend });
});

describe('the page /docs of each API', () => {
  it.each([
    ['public', '/docs'],
    ['private', '/docs/'],
  ])('%s: %s works in a browser under its policy', async (which, path) => {
    const base = which === 'public' ? server.publicApiUrl : server.privateApiUrl;
    const page = await browser.newPage();
    const complaints = await listen(page);
    const answer = await page.goto(base + path);
    const policy = answer?.headers()['content-security-policy'] ?? '';
    expect(policy).toContain("script-src 'self'; style-src 'self';");
    expect(policy).not.toContain('unsafe');
    await page.locator('.opblock').first().waitFor();
    expect(await page.locator('.opblock').count()).toBeGreaterThan(8);
    // A try-out: a form, a call to this server, its answer on the page.
    const health = page.locator('.opblock', { has: page.locator('[data-path="/healthz"]') });
    await health.locator('.opblock-summary-control').click();
    await health.locator('button.execute').click();
    await health.locator('.live-responses-table .response-col_status').last().waitFor();
    expect(await health.locator('.live-responses-table').innerText()).toContain('"up"');
    expect(complaints()).toEqual([]);

    // It would be heard.
    await page.evaluate(writeIn);
    await expect.poll(complaints).not.toEqual([]);
    await page.close();
  });

  it.each(['/docs', '/', '/openapi.json'])('%s is framed by no page', async (path) => {
    const page = await browser.newPage();
    await page.goto(stranger);
    await page.evaluate(frame, server.publicApiUrl + path);
    await page.waitForFunction(frameIsForeign);
    const [, inside] = page.frames();
    await expect.poll(() => inside?.url()).toBe('chrome-error://chromewebdata/');
    await page.close();
  });
});

describe('a page of another origin', () => {
  const apis = () => [server.publicApiUrl, server.privateApiUrl];

  it('reads no answer, whatever it asks and however', async () => {
    const page = await pageOf(stranger);
    for (const base of apis()) {
      for (const path of ['/', '/healthz', '/openapi.json', '/docs', '/api/models/']) {
        expect(await ask(page, base + path), path).toBe('TypeError');
        expect(await ask(page, base + path, { authorization: 'Bearer x' }), path).toBe('TypeError');
      }
    }
    await page.close();
  });

  it('embeds no answer as an image, a script or a style', async () => {
    const page = await pageOf(stranger);
    for (const [tag, path] of [
      ['img', '/docs/static/favicon-32x32.png'],
      ['script', '/docs/static/swagger-initializer.js'],
      ['link', '/docs/static/swagger-ui.css'],
    ] as const) {
      for (const base of apis()) {
        expect(await page.evaluate(embed, { tag, url: base + path }), tag).toBe('error');
      }
    }
    await page.close();
  });

  it('that CORS_ORIGINS names reads the public API, preflights and refusals included', async () => {
    const page = await pageOf(friend);
    const [publicApi = '', privateApi = ''] = apis();
    expect(await ask(page, `${publicApi}/healthz`)).toBe('200 {"status":"up"}');
    const key = { authorization: 'Bearer x' };
    expect(await ask(page, `${publicApi}/api/models/`, key)).toMatch(/^401 .*"UNAUTHORIZED"/);
    // Without a key it is a foreign page to a server that knows callers by their address.
    expect(await ask(page, `${publicApi}/api/models/`)).toMatch(/^403 .*"FORBIDDEN"/);
    expect(await ask(page, `${publicApi}/api/tasks/x`, key, 'DELETE')).toMatch(/^40[14] /);
    expect(await ask(page, `${privateApi}/healthz`)).toBe('TypeError');
    await page.close();
  });
});

/** A site with one empty page. */
async function startSite(): Promise<string> {
  const site = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html').end('<!doctype html><body></body>');
  });
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
  whenFileEnds('site', async () => {
    site.closeAllConnections();
    await new Promise((resolve) => site.close(resolve));
  });
  return `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
}

async function pageOf(url: string): Promise<BrowserPage> {
  const page = await browser.newPage();
  await page.goto(url);
  return page;
}

/** Everything that the browser finds wrong with a page: refused by its policy, failed, thrown. */
async function listen(page: BrowserPage): Promise<() => string[]> {
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => complaints.push(`failed: ${request.url()}`));
  await page.exposeFunction('tellViolation', (what: string) => complaints.push(what));
  await page.addInitScript(tellOfViolations);
  return () => complaints;
}

/** Status and text of the answer that a page gets, or the name of the error. */
async function ask(
  page: BrowserPage,
  url: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<string> {
  return page.evaluate(read, { url, headers, method });
}
