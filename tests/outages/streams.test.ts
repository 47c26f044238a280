import { execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { CreatedKey, IssuedToken } from '@inference-server/contracts';
import type { TestApp } from '@inference-server/testing';
import { runServer, type RunningServer } from '../running-server.js';
import { compileDefinitions } from '../warm/python-image.js';
import { warmModels, type Order } from '../warm/warm-models.js';

const run = promisify(execFile);
const script = new URL('../warm/stream_client.py', import.meta.url).pathname;
const ada = { user_name: 'ada', password: 'correct horse battery' };

let server: RunningServer;
let models: ReturnType<typeof warmModels>;
let gateway: TestApp;
let definitions: string;
let key: string;

beforeAll(async () => {
  server = await runServer();
  await server.startPrivateApi();
  gateway = await server.startGateway();
  await server.startPublicApi();
  await server.startConsumer('cpu', { SWEEP_INTERVAL_S: '1' });
  definitions = await compileDefinitions();
  models = warmModels(server);
  await models.put('usual', { min_replicas: 1 });
  await models.put('other');
  await models.until('usual', ['READY']);
  key = (await newKey()).key;
  await admin('PUT', 'users/ada', { password: ada.password, role: 'submit' });
}, 240_000);

afterAll(() => models.removeAll());

async function admin<Told>(method: string, path: string, body?: object): Promise<Told> {
  const answer = await fetch(`${server.privateApiUrl}/api/admin/${path}`, {
    method,
    headers: {
      authorization: `Bearer ${server.token}`,
      ...(body && { 'content-type': 'application/json' }),
    },
    ...(body && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(10_000),
  });
  expect(answer.status).toBe(200);
  return (await answer.json()) as Told;
}

const newKey = () => admin<CreatedKey>('POST', 'keys/', { name: 'a stream', role: 'submit' });

async function newToken(model: string | undefined, lifeS: number): Promise<string> {
  const answer = await fetch(`${server.publicApiUrl}/api/tokens/`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ expires_in_s: lifeS, ...(model && { human_readable_id: model }) }),
    signal: AbortSignal.timeout(10_000),
  });
  expect(answer.status).toBe(200);
  return ((await answer.json()) as IssuedToken).token;
}

type Step =
  | { auth: Record<string, string>; clients?: number; data?: string[] }
  | { token: string | { of: number }; data: string[]; told?: number; hold?: boolean };

interface Found {
  url?: string;
  token?: string;
  answers?: string[];
  code?: string;
  details?: string;
  ms?: number;
}

const clientOf = (...steps: Step[]) => [
  ...[script, definitions, server.grpcAddress, JSON.stringify(steps)],
];

/** What comes of the steps of a client in Python, one after the other. */
async function ask(...steps: Step[]): Promise<Found[]> {
  const { stdout } = await run('/usr/bin/python3', clientOf(...steps), { timeout: 100_000 });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Found);
}

/** A stream of a client in Python once it has so many answers; `ended` tells how it ends. */
async function begin(
  token: string,
  data: string[],
  { told = data.length, hold = true } = {},
): Promise<{ ended: Promise<Found> }> {
  const client = spawn('/usr/bin/python3', clientOf({ token, data, told, hold }), {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 100_000,
  });
  onTestFinished(() => void client.kill('SIGKILL'));
  const lines = createInterface(client.stdout)[Symbol.asyncIterator]();
  const next = async () => JSON.parse(String((await lines.next()).value ?? '{}')) as unknown;
  expect(await next()).toBe('told');
  return { ended: next() as Promise<Found> };
}

const order = (id: string, more: Order = {}) => JSON.stringify({ id, ...more });
const orders = (count: number, more: Order = {}) =>
  Array.from({ length: count }, (_, n) => order(`d${n}`, more));
/** What the model has answered to: it puts its version and its place behind. */
const answeredTo = ({ answers = [] }: Found) => answers.map((answer) => answer.split(' ')[0]);
const inOrder = (count: number) => Array.from({ length: count }, (_, n) => `d${n}`);

describe('auth', () => {
  it('gives a token that opens a stream, for a key, a token, and a name and a password', async () => {
    const shown = [{ token: key }, { token: await newToken('usual', 60) }, ada];
    for (const credentials of shown) {
      const [granted = {}, stream = {}] = await ask(
        { auth: { model_name: 'usual', ...credentials } },
        { token: { of: 0 }, data: orders(20) },
      );
      expect(granted.url).toBe(server.grpcAddress);
      expect([stream.code, answeredTo(stream)]).toEqual(['OK', inOrder(20)]);
    }
  }, 120_000);

  it('takes twenty clients at once that log in by one name, from one address', async () => {
    const asked = { auth: { model_name: 'usual', ...ada }, clients: 20, data: orders(20) };
    const [found = []] = (await ask(asked)) as unknown as Found[][];
    expect(found.map((one) => [one.code, answeredTo(one)])).toEqual(
      Array.from({ length: 20 }, () => ['OK', inOrder(20)]),
    );
  }, 120_000);

  it('refuses whatever else is shown', async () => {
    const [ofOther, short, any] = [
      await newToken('other', 60),
      await newToken('usual', 1),
      await newToken(undefined, 60),
    ];
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const model = { model_name: 'usual' };
    const cases: [Record<string, string>, string][] = [
      [model, 'UNAUTHENTICATED'],
      [{ ...model, user_name: 'ada' }, 'UNAUTHENTICATED'],
      [{ ...model, ...ada, password: 'wrong' }, 'UNAUTHENTICATED'],
      [{ ...model, ...ada, user_name: 'nobody' }, 'UNAUTHENTICATED'],
      [{ ...model, token: 'secret' }, 'UNAUTHENTICATED'],
      [
        { ...model, token: `${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}` },
        'UNAUTHENTICATED',
      ],
      [{ ...model, token: ofOther }, 'UNAUTHENTICATED'],
      [{ ...model, token: short }, 'UNAUTHENTICATED'],
      [{ ...model, token: any }, 'PERMISSION_DENIED'],
      [{ model_name: 'none', ...ada }, 'NOT_FOUND'],
      [{ model_name: 'none', token: key }, 'NOT_FOUND'],
      [{ model_name: 'no name:', token: key }, 'NOT_FOUND'],
    ];
    const found = await ask(...cases.map(([auth]) => ({ auth })));
    expect(found.map(({ code }) => code)).toEqual(cases.map(([, code]) => code));
    const streams = await ask(
      ...['secret', short, any].map((token) => ({ token, data: orders(1), hold: true })),
    );
    expect(streams.map(({ code, answers }) => [code, answers])).toEqual(
      streams.map(() => ['UNAUTHENTICATED', []]),
    );
  }, 120_000);
});

describe('a stream ends within a second', () => {
  const endsSoon = async (ended: Promise<Found>) => {
    const began = performance.now();
    expect(await ended).toMatchObject({ code: 'UNAUTHENTICATED' });
    // Its own time, and that of a busy machine.
    expect(performance.now() - began).toBeLessThan(3_000);
  };

  it('of the end of its token', async () => {
    const began = performance.now();
    const { ended } = await begin(await newToken('usual', 4), orders(3));
    expect((await ended).code).toBe('UNAUTHENTICATED');
    const tookMs = performance.now() - began;
    expect(tookMs).toBeGreaterThan(3_500);
    expect(tookMs).toBeLessThan(7_000);
  }, 60_000);

  it('of the revocation of its key', async () => {
    const { key: shown, id } = await newKey();
    const [granted] = await ask({ auth: { model_name: 'usual', token: shown } });
    const { ended } = await begin(granted?.token ?? '', orders(3));
    await admin('DELETE', `keys/${id}`);
    await endsSoon(ended);
  }, 60_000);

  it('of a new password', async () => {
    const [granted] = await ask({ auth: { model_name: 'usual', ...ada } });
    const { ended } = await begin(granted?.token ?? '', orders(3));
    await admin('PUT', 'users/ada', { password: ada.password });
    await endsSoon(ended);
  }, 60_000);
});

it.each(['SIGTERM', 'SIGKILL'] as const)(
  'a gateway that goes by %s leaves no stream in silence, and the next one takes the same token',
  async (signal) => {
    const token = await newToken('usual', 600);
    const idle = await Promise.all([1, 2].map(() => begin(token, orders(2))));
    const busy = await begin(token, orders(2_000, { sleep_ms: 20 }), { told: 20 });
    const began = performance.now();
    if (signal === 'SIGKILL') await gateway.kill();
    else await gateway.stop();
    const ends = await Promise.all([...idle, busy].map(({ ended }) => ended));
    expect(performance.now() - began).toBeLessThan(15_000);
    expect(ends.map(({ code }) => code)).toEqual(ends.map(() => 'UNAVAILABLE'));
    const answered = answeredTo(ends[2] ?? {});
    expect(answered.length).toBeLessThan(2_000);
    expect(answered).toEqual(inOrder(answered.length));
    gateway = await server.startGateway();
    const [again = {}] = await ask({ token, data: orders(20) });
    expect([again.code, answeredTo(again)]).toEqual(['OK', inOrder(20)]);
  },
  120_000,
);

it('a replica that dies under a stream is replaced: each datum is answered once, in order', async () => {
  const data = orders(300, { sleep_ms: 20 });
  const { ended } = await begin(await newToken('usual', 600), data, { told: 20, hold: false });
  expect((await models.ask('usual', { exit: 7 })).code).toBe('SERVICE_UNAVAILABLE');
  const { code, answers = [] } = await ended;
  expect([code, answeredTo({ answers })]).toEqual(['OK', inOrder(300)]);
  expect(new Set(answers.map((answer) => answer.split(' ').at(-1))).size).toBe(2);
}, 120_000);
