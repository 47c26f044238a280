import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { renewHeldMs } from '@inference-server/contracts';
import { createLogger } from '@inference-server/service-kit';
import { waitUntil } from '@inference-server/testing';
import { createPrivateApiClient, type PrivateApiClient } from '../src/private-api-client.js';
import { keepLease, type KeptLease } from '../src/run/lease.js';

const logger = createLogger('test', 'silent');
const leaseMs = 3_000;
const held = { taskUid: 'A'.repeat(43), attempt: 1, epoch: 1, holder: 'consumer-a' };
const news = { onRefused: () => undefined, onCancel: () => undefined, readPeakMib: () => null };

/** A private-api of which each connection may be of another process: what each was asked, and when. */
let asked: { connection: Socket; at: number; isAnswered: boolean }[];
let answers: (connection: Socket) => boolean;
let api: PrivateApiClient;
let lease: KeptLease | undefined;
const server = createServer((request: IncomingMessage, response: ServerResponse) => {
  const connection = request.socket;
  const isAnswered = answers(connection);
  asked.push({ connection, at: performance.now(), isAnswered });
  request.resume();
  if (!isAnswered) return;
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ outcome: 'renewed', lease_ms: leaseMs, cancel_requested: false }));
});

beforeEach(async () => {
  asked = [];
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  api = createPrivateApiClient({ url, token: 'a token of tests', consumerId: 'consumer-a' });
});
afterEach(async () => {
  await lease?.stop();
  await api.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

it('is asked for over another connection, in time, when the one it has goes silent', async () => {
  // The process behind the first one stands still after its first answer.
  answers = (connection) => asked.every((one) => one.connection !== connection);
  begin();
  expect(await waitUntil(() => answered().length >= 3, { timeoutMs: 15_000 })).toBe(true);
  expect(asked.some(({ isAnswered }) => !isAnswered)).toBe(true);
  expect(longestGap()).toBeLessThan(leaseMs);
});

it('is asked for again in time when the first renewal is not answered', async () => {
  answers = () => asked.length > 0;
  const began = performance.now();
  begin();
  expect(await waitUntil(() => answered().length > 0, { timeoutMs: 15_000 })).toBe(true);
  expect(answered()[0]! - began).toBeLessThan(leaseMs);
});

it('keeps its connection while it is answered', async () => {
  answers = () => true;
  begin();
  expect(await waitUntil(() => asked.length >= 3, { timeoutMs: 15_000 })).toBe(true);
  expect(new Set(asked.map(({ connection }) => connection)).size).toBe(1);
});

it('is held open for a sixth, and for 5 s at most', () => {
  expect([30_000, 6_000, 600_000].map(renewHeldMs)).toEqual([5_000, 1_000, 5_000]);
});

it('of a long lease is not waited for for long', async () => {
  answers = () => false;
  const waits: number[] = [];
  const slow: Pick<PrivateApiClient, 'renew'> = {
    renew: (_held, { answerWithinMs }) => {
      waits.push(answerWithinMs);
      return Promise.reject(new Error('silent'));
    },
  };
  lease = keepLease(
    { api: { ...api, ...slow }, logger },
    { held, askedAt: performance.now(), leaseMs: 3_600_000 },
    news,
  );
  expect(await waitUntil(() => waits.length > 0, { timeoutMs: 5_000 })).toBe(true);
  expect(waits[0]).toBe(15_000);
});

it('tells what a run was seen to take of a GPU, until that was heard, and no more', async () => {
  const told: (number | undefined)[] = [];
  const telling: Pick<PrivateApiClient, 'renew'> = {
    renew: (_held, { peakMib }) => {
      if (told.push(peakMib) === 2) return Promise.reject(new Error('lost'));
      return Promise.resolve({ outcome: 'renewed', lease_ms: leaseMs, cancel_requested: false });
    },
  };
  const readPeakMib = () => (told.length === 0 ? null : told.length < 4 ? 500 : 700);
  lease = keepLease(
    { api: { ...api, ...telling }, logger },
    { held, askedAt: performance.now(), leaseMs },
    { ...news, readPeakMib },
  );
  expect(await waitUntil(() => told.length >= 6, { timeoutMs: 20_000 })).toBe(true);
  expect(told.slice(0, 6)).toEqual([undefined, 500, 500, undefined, 700, undefined]);
});

function begin(): void {
  lease = keepLease({ api, logger }, { held, askedAt: performance.now(), leaseMs }, news);
}

function answered(): number[] {
  return asked.filter(({ isAnswered }) => isAnswered).map(({ at }) => at);
}

function longestGap(): number {
  const times = answered();
  return Math.max(...times.slice(1).map((at, before) => at - times[before]!));
}
