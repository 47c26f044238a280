import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import AdmZip from 'adm-zip';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  allRoutes,
  isOipAddress,
  publicRoutes,
  type RouteContract,
} from '@inference-server/contracts';
import { consumerToken, securityHeaders } from '@inference-server/service-kit';
import { requestsWith, type EchoRequest, type Samples } from './echo-requests.js';
import { runServer, type RunningServer } from './running-server.js';

/** Stands in every value: an answer that shows any part of one shows it. */
const marker = 'Zq7eCh0';

const values = [
  `<script>alert("${marker}")</script>`,
  `"><img src=x onerror=${marker}>`,
  `'; DROP TABLE tasks; -- ${marker}`,
  `sk-live-${marker}-0123456789abcdef`,
  `postgres://user:${marker}@10.0.0.1/db`,
  `../../../etc/${marker}`,
  `\${jndi:ldap://${marker}}`,
];

let server: RunningServer;
let finished: string;
let failed: string;

beforeAll(async () => {
  server = await runServer();
  await server.startPrivateApi();
  await server.startPublicApi();
  const consumer = await server.startConsumer();
  await server.postModel('script');
  finished = await run('echo done > /output/a');
  failed = await run('exit 3');
  // What is posted from here on is to wait.
  await consumer.stop();
}, 90_000);

/** The uid of a task that has ended, with whatever result. */
async function run(script: string): Promise<string> {
  const zip = new AdmZip();
  zip.addFile('run.sh', Buffer.from(script));
  const uid = await server.client.postTask({ human_readable_id: 'script', zip: zip.toBuffer() });
  const signal = AbortSignal.timeout(25_000);
  const ended = await server.client.waitForTask(uid, { signal }).catch((error: unknown) => error);
  if (ended instanceof Error) expect(ended).toMatchObject({ code: 'TASK_FAILED' });
  else await (ended as { zip: ReadableStream }).zip.cancel();
  return uid;
}

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

async function send(base: string, { method, path, headers, body }: EchoRequest): Promise<Answer> {
  const { hostname, port } = new URL(base);
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
    httpRequest({ hostname, port, method, path, headers: { ...headers, ...length } }, resolve)
      .on('error', reject)
      .end(body);
  });
  const { statusCode: status = 0 } = answer;
  return { status, headers: answer.headers, text: await text(answer) };
}

/** What is wrong with the answer; undefined: nothing. */
function faultOf({ status, headers, text: body }: Answer, path = ''): string | undefined {
  const shown = JSON.stringify(headers) + body;
  const fails = status >= 400;
  const [lacking] = Object.keys(securityHeaders).filter((name) => headers[name] === undefined);
  if (lacking !== undefined) return `no ${lacking}`;
  const [type, said] = isOipAddress(path)
    ? (['application/json', 'error'] as const)
    : (['application/problem+json; charset=utf-8', 'code'] as const);
  if (fails && headers['content-type'] !== type) return 'no problem body';
  const problem = fails ? (JSON.parse(body) as { code?: unknown; error?: unknown }) : {};
  if (fails && typeof problem[said] !== 'string') return `no ${said}`;
  if (JSON.stringify(headers).includes(marker)) return 'echo in the headers';
  // A model that was registered comes back as it was written.
  if (fails && body.includes(marker)) return 'echo in the body';
  const ours = [server.folder, server.token, server.database.url, 'node_modules', '127.0.0.1'];
  if (fails && ours.some((secret) => shown.includes(secret))) return 'tells of the inside';
  return status === 500 ? 'a fault of the server' : undefined;
}

async function faultsOf(
  base: string,
  contract: RouteContract,
  samples: Samples,
  headers: Record<string, string>,
): Promise<{ sent: number; faults: string[] }> {
  const faults: string[] = [];
  let sent = 0;
  for (const value of values) {
    for (const request of requestsWith(contract, value, samples)) {
      // The second finds what the first has left there.
      for (const round of [1, 2]) {
        sent += 1;
        const answer = await send(base, {
          ...request,
          headers: { ...headers, ...request.headers },
        });
        const fault = faultOf(answer, contract.path);
        if (fault === undefined) continue;
        const { status, text: body } = answer;
        faults.push(`${fault}: ${request.where} = ${value} (${round}): ${status} ${body}`);
      }
    }
  }
  return { sent, faults };
}

const samplesFor = (uid: string): Samples => ({
  uid,
  task_uid: uid,
  attempt: '1',
  consumer_id: 'c1',
  human_readable_id: 'script',
  container_tag: 'a:1',
  holder: 'a-process',
  epoch: '1',
});

const idOf = ({ operationId }: RouteContract) => operationId;

describe('nothing that a caller sends comes back in an error, from public-api', () => {
  it.each(publicRoutes.map((route) => [idOf(route), route] as const))('%s', async (_id, route) => {
    const uids = route.path.includes(':uid')
      ? [finished, failed, 'A'.repeat(43)]
      : ['A'.repeat(43)];
    // A task that is deleted once is gone: the others are still needed.
    for (const uid of route.method === 'DELETE' ? uids.slice(2) : uids) {
      const { sent, faults } = await faultsOf(server.publicApiUrl, route, samplesFor(uid), {});
      expect(faults).toEqual([]);
      expect(sent).toBeGreaterThan(values.length * 40);
    }
  });

  it('credentials', async () => {
    for (const value of values) {
      for (const authorization of [value, `Bearer ${value}`, `Basic ${value}`]) {
        const request = {
          where: '',
          method: 'GET',
          path: '/api/models/',
          headers: { authorization },
        };
        const answer = await send(server.publicApiUrl, request);
        expect([answer.status, faultOf(answer)]).toEqual([401, undefined]);
      }
    }
  });

  it.each(['/', '/docs/', '/docs/static/', '/nothing/', '/%zz', '/api/%zz/', '//'])(
    'addresses that begin with %s',
    async (start) => {
      for (const value of values) {
        const request = { where: '', method: 'GET', headers: {} };
        for (const path of [
          start + encodeURIComponent(value),
          `${start}?${encodeURIComponent(value)}`,
        ]) {
          const answer = await send(server.publicApiUrl, { ...request, path });
          expect([path, faultOf(answer)]).toEqual([path, undefined]);
        }
      }
    },
  );
});

describe('nothing that a caller sends comes back in an error, from private-api', () => {
  it.each(allRoutes.map((route) => [idOf(route), route] as const))('%s', async (_id, route) => {
    const token = route.callers.includes('consumer')
      ? consumerToken(server.token, 'c1')
      : server.token;
    const headers = { authorization: `Bearer ${token}` };
    const samples = samplesFor('A'.repeat(43));
    expect((await faultsOf(server.privateApiUrl, route, samples, headers)).faults).toEqual([]);
  });
});
