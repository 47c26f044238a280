import type { RequestListener, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { createModelSources } from '../../src/modules/models/sources/model-sources.js';
import { isPublicAddress } from '../../src/modules/models/sources/public-address.js';
import { describeModelSource, refusalOf } from '../model-source-conformance.js';
import { unset } from '../source-settings.js';
import { startTlsServer } from '../tls-server.js';

type TlsServer = Awaited<ReturnType<typeof startTlsServer>>;

describeModelSource('https:', async () => {
  const files = new Map<string, Buffer>();
  const server = await startTlsServer((request, response) => {
    const bytes = files.get(request.url ?? '');
    if (bytes === undefined) response.writeHead(404).end('nothing here');
    else response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
  });
  const base = `https://${server.host}`;
  return {
    source: createModelSources({
      ...unset,
      MODEL_SOURCE_HOSTS: ` other.test , ${server.host}`,
      MODEL_SOURCE_CA_FILE: server.caFile,
    }),
    async put(name, bytes) {
      const path = `/${name.split('/').map(encodeURIComponent).join('/')}?sign=a%2Fb`;
      files.set(path, bytes);
      return base + path;
    },
    absentUrl: `${base}/absent.zip?sign=hush-hush`,
    refusedUrls: [
      ['another port', `https://localhost:${server.port + 1}/a.zip`],
      ['another name of it', `https://127.0.0.1:${server.port}/a.zip`],
      ['its usual port', 'https://localhost/a.zip'],
      ['another host', 'https://example.org/a.zip'],
      ['no TLS', `http://${server.host}/a.zip`],
      ['a password', `https://u:hush-hush@${server.host}/a.zip`],
      ['no host', 'https://'],
      ['a file', 'file:///etc/passwd'],
    ],
    secrets: ['hush-hush'],
    close: server.close,
  };
});

describe('a host that is allowed', () => {
  let server: TlsServer;
  let plain: { url: string; close: () => void };
  const asked: string[] = [];
  const answers: Record<string, (response: ServerResponse) => void> = {
    '/file': (response) => response.end('bytes'),
    '/once': (response) => response.writeHead(302, { location: '/file' }).end(),
    '/thrice': (response) => response.writeHead(307, { location: '/twice' }).end(),
    '/twice': (response) => response.writeHead(308, { location: 'once' }).end(),
    '/four-times': (response) => response.writeHead(301, { location: '/thrice' }).end(),
    '/for-ever': (response) => response.writeHead(303, { location: '/for-ever' }).end(),
    '/to-plain': (response) => response.writeHead(302, { location: plain.url }).end(),
    '/to-a-file': (response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    '/to-another': (response) =>
      response.writeHead(302, { location: `https://127.0.0.1:${server.port}/file` }).end(),
    '/to-metadata': (response) =>
      response.writeHead(302, { location: 'https://169.254.169.254/latest' }).end(),
    '/nowhere': (response) => response.writeHead(302).end(),
    '/forbidden': (response) => response.writeHead(403).end('a secret of the source'),
    '/broken': (response) => response.writeHead(500).end('a secret of the source'),
    '/busy': (response) => response.writeHead(429).end(),
    '/part': (response) => response.writeHead(206).end('by'),
    '/packed': (response) =>
      response.writeHead(200, { 'content-encoding': 'gzip' }).end('a secret of the source'),
    '/silent': () => undefined,
    '/silent-later': (response) => response.writeHead(200, { 'content-length': 9 }).write('by'),
    '/cut': (response) => {
      response.writeHead(200, { 'content-length': 9 }).write('by');
      setTimeout(() => response.destroy(), 50);
    },
    '/cut-chunks': (response) => {
      response.write('by');
      setTimeout(() => response.destroy(), 50);
    },
    '/trickle': (response) => {
      const timer = setInterval(() => response.write('b'), 50);
      response.on('close', () => clearInterval(timer));
    },
  };
  beforeAll(async () => {
    const answer: RequestListener = (request, response) => {
      asked.push(request.url ?? '');
      answers[request.url ?? '']?.(response);
    };
    server = await startTlsServer(answer);
    const other = createServer(answer);
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}/plain`;
    plain = { url, close: () => other.close() };
  });
  afterAll(async () => {
    plain.close();
    await server.close();
  });

  const sourceOf = (own: object = {}) =>
    createModelSources({
      ...unset,
      MODEL_SOURCE_HOSTS: `${server.host},*`,
      MODEL_SOURCE_CA_FILE: server.caFile,
      MODEL_SOURCE_TIMEOUT_S: 1,
      UPLOAD_WINDOW_S: 0.5,
      ...own,
    });
  const urlOf = (path: string) => `https://${server.host}${path}`;

  it.each(['/file', '/once', '/thrice'])('gives what is behind %s', async (path) => {
    const { stream } = await sourceOf().open(urlOf(path), new AbortController().signal);
    const chunks: Buffer[] = [];
    for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
    expect(Buffer.concat(chunks).toString()).toBe('bytes');
  });

  it.each([
    ['/four-times', 'VALIDATION_FAILED', 'leads on more than 3 times'],
    ['/for-ever', 'VALIDATION_FAILED', 'leads on more than 3 times'],
    ['/to-plain', 'VALIDATION_FAILED', 'leads to something other than https'],
    ['/to-a-file', 'VALIDATION_FAILED', 'leads to something other than https'],
    ['/to-another', 'VALIDATION_FAILED', 'does not allow'],
    ['/to-metadata', 'VALIDATION_FAILED', 'does not allow'],
    ['/nowhere', 'SERVICE_UNAVAILABLE', 'answers with 302'],
    ['/forbidden', 'VALIDATION_FAILED', 'not given out'],
    ['/broken', 'SERVICE_UNAVAILABLE', 'answers with 500'],
    ['/busy', 'SERVICE_UNAVAILABLE', 'answers with 429'],
    ['/part', 'SERVICE_UNAVAILABLE', 'answers with 206'],
    ['/packed', 'VALIDATION_FAILED', 'Content-Encoding'],
    ['/silent', 'SERVICE_UNAVAILABLE', 'does not answer'],
    ['/silent-later', 'SERVICE_UNAVAILABLE', 'broke off'],
    ['/cut', 'SERVICE_UNAVAILABLE', 'broke off'],
    ['/cut-chunks', 'SERVICE_UNAVAILABLE', 'broke off'],
    ['/trickle', 'SERVICE_UNAVAILABLE', 'brings too little'],
  ])('is refused that answers as %s: %s', async (path, code, why) => {
    const [said, detail] = await refusalOf(sourceOf(), urlOf(path));
    expect([said, detail]).toEqual([code, expect.stringContaining(why)]);
    expect(detail).not.toContain('secret');
    expect(asked).not.toContain('/plain');
  });

  it('is not believed without its authority', async () => {
    const source = sourceOf({ MODEL_SOURCE_CA_FILE: undefined });
    expect((await refusalOf(source, urlOf('/file')))[0]).toBe('SERVICE_UNAVAILABLE');
  });

  it('is none of this machine or its networks where any is allowed', async () => {
    const source = sourceOf({ MODEL_SOURCE_HOSTS: '*' });
    for (const host of [
      'localhost',
      '127.0.0.1',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '2130706433',
      '0x7f.1',
      '10.0.0.1',
      '169.254.169.254',
    ]) {
      expect([host, ...(await refusalOf(source, `https://${host}/file`))]).toEqual([
        ...[host, 'VALIDATION_FAILED'],
        'model_url is of a host that MODEL_SOURCE_HOSTS does not allow.',
      ]);
    }
  });

  it('is none where none is set', async () => {
    const source = sourceOf({ MODEL_SOURCE_HOSTS: undefined });
    expect((await refusalOf(source, urlOf('/file')))[1]).toContain('MODEL_SOURCE_HOSTS is not set');
  });

  it('that nobody listens at is told as away', async () => {
    const gone = await startTlsServer(() => undefined);
    await gone.close();
    const source = sourceOf({ MODEL_SOURCE_HOSTS: `${gone.host},absent.invalid` });
    for (const host of [gone.host, 'absent.invalid']) {
      const [code] = await refusalOf(source, `https://${host}/a`);
      expect([host, code]).toEqual([host, 'SERVICE_UNAVAILABLE']);
    }
  });
});

test('a file of authorities that is none is told of at the start', () => {
  for (const file of ['/absent.pem', import.meta.filename]) {
    expect(() => createModelSources({ ...unset, MODEL_SOURCE_CA_FILE: file })).toThrow(
      /^MODEL_SOURCE_CA_FILE: /,
    );
  }
});

test.each([
  ['1.1.1.1', true],
  ['2606:4700::1111', true],
  ['0.0.0.0', false],
  ['10.1.2.3', false],
  ['100.64.0.1', false],
  ['127.1.2.3', false],
  ['169.254.169.254', false],
  ['172.31.0.1', false],
  ['192.168.1.1', false],
  ['198.18.0.1', false],
  ['224.0.0.1', false],
  ['255.255.255.255', false],
  ['::', false],
  ['::1', false],
  ['::ffff:10.0.0.1', false],
  ['64:ff9b::a00:1', false],
  ['2002:a00:1::', false],
  ['2001:db8::1', false],
  ['fd00::1', false],
  ['fe80::1%eth0', false],
  ['ff02::1', false],
  ['localhost', false],
])('%s is an address of the internet: %s', (address, isOne) => {
  expect(isPublicAddress(address)).toBe(isOne);
});

test('a host may be named with its usual port', async () => {
  const source = createModelSources({ ...unset, MODEL_SOURCE_HOSTS: 'localhost:443' });
  // Allowed, and nobody is there.
  await expect(
    source.open('https://localhost/a.zip', AbortSignal.timeout(5_000)),
  ).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
});
