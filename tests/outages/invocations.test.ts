import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  maxInvocationContentBytes,
  type CreatedKey,
  type ModelContract,
  type ModelField,
} from '@inference-server/contracts';
import type { TestApp } from '@inference-server/testing';
import { runServer, type RunningServer } from '../running-server.js';
import { compileDefinitions } from '../warm/python-image.js';
import { warmModels } from '../warm/warm-models.js';

const run = promisify(execFile);

let server: RunningServer;
let models: ReturnType<typeof warmModels>;
let privateApi: TestApp;
let definitions: string;
let keys: string[];

beforeAll(async () => {
  server = await runServer();
  privateApi = await server.startPrivateApi();
  await server.startGateway({ DEFAULT_INVOCATION_MODEL: 'usual' });
  await server.startPublicApi();
  await server.startConsumer('cpu', { SWEEP_INTERVAL_S: '1' });
  definitions = await compileDefinitions();
  models = warmModels(server);
  // It has a content of 64 MiB several times.
  await models.put('usual', { min_replicas: 1, memory_mib: 1_024 });
  await models.until('usual', ['READY']);
  keys = await Promise.all(['first', 'second'].map(newKey));
}, 240_000);

afterAll(() => models.removeAll());

async function newKey(name: string): Promise<string> {
  const answer = await fetch(`${server.privateApiUrl}/api/admin/keys/`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name, role: 'submit' }),
    signal: AbortSignal.timeout(10_000),
  });
  return ((await answer.json()) as CreatedKey).key;
}

interface Asked {
  id: number;
  /** Where PAD stands so many bytes stand. */
  content: string;
  pad?: number;
  metadata?: { key: string; value: string }[];
  key?: string | undefined;
}

/** What comes of invocations of a client in Python, one after the other, and what it reads right after each. */
async function invoke(...asked: Asked[]): Promise<Record<string, unknown>[]> {
  const script = new URL('../warm/invocation_client.py', import.meta.url).pathname;
  const { stdout } = await run(
    '/usr/bin/python3',
    [script, definitions, server.grpcAddress, server.publicApiUrl, JSON.stringify(asked)],
    { timeout: 150_000 },
  );
  return JSON.parse(stdout) as Record<string, unknown>[];
}

const order = (id: string) => JSON.stringify({ id });
const named = (name: string) => [{ key: 'model', value: name }];

const stored = (id: number, said: string, inputs: unknown[] = []) => ({
  ...{ status: 'OK', message: '', read: 200, ms: expect.any(Number) as number },
  ...{ ids: [id, id], 'is the content': true, inputs },
  outputs: [{ key: 'x', value: expect.stringMatching(new RegExp(`^${said} `)) as string }],
});
const failed = (message: RegExp, read = 404) => ({
  ...{ status: 'ERROR', message: expect.stringMatching(message) as string, read },
});

describe('an invocation', () => {
  it('is read in time after its answer, by whoever made it, until the next of its id', async () => {
    const [a, b] = keys;
    const found = await invoke(
      { id: 17, content: order('one'), key: a },
      { id: 17, content: order('two'), key: a, metadata: named('usual') },
      { id: 17, content: order('another'), key: b },
      { id: -(2 ** 31), content: order('anonymous') },
    );
    expect(found).toEqual([
      stored(17, 'one'),
      stored(17, 'two', named('usual')),
      stored(17, 'another'),
      stored(-(2 ** 31), 'anonymous'),
    ]);
    // It was there when OK was said. How long reading takes on a busy machine is another question.
    expect(Math.min(...found.map(({ ms }) => Number(ms)))).toBeLessThan(200);
    const read = async (key: string | undefined) => {
      const answer = await fetch(`${server.publicApiUrl}/invocation/17`, {
        headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
      });
      return [answer.status, await answer.text()];
    };
    expect(await read(a)).toEqual([200, expect.stringContaining('two ')]);
    expect(await read(b)).toEqual([200, expect.stringContaining('another ')]);
    expect(await read(undefined)).toEqual([404, expect.stringContaining('"message":')]);
  }, 120_000);

  it('that fails stores nothing, and leaves the one before', async () => {
    const found = await invoke(
      { id: 1, content: 'no order' },
      { id: 1, content: order('x'), metadata: named('none') },
      { id: 1, content: order('fine') },
      { id: 1, content: '{"id": "x", "code": 3}' },
    );
    expect(found).toMatchObject([
      { ...failed(/cannot read that/), said: 'There is no invocation of this id.' },
      failed(/There is no model of this name/),
      stored(1, 'fine'),
      failed(/INVALID_ARGUMENT.*as it was told/, 200),
    ]);
    expect(found[3]?.['is the content']).toBe(false);
  }, 120_000);

  it('offers its metadata to an input of that name', async () => {
    const text = (name: string): ModelField => ({ name, dtype: 'DT_STRING', shape: [] });
    const contract: ModelContract = {
      signature_name: 'predict',
      inputs: [text('metadata'), text('x')],
      outputs: [text('x')],
    };
    await models.put('described', { contract });
    const metadata = named('described');
    const [found] = await invoke({ id: 2, content: order('with'), metadata });
    expect(found).toEqual(stored(2, 'with', metadata));
  }, 120_000);

  it('has as much content as there may be, and no more', async () => {
    const content = '{"id": "large", "pad": "PAD"}';
    const pad = maxInvocationContentBytes - (content.length - 3);
    const found = await invoke({ id: 3, content, pad }, { id: 4, content, pad: pad + 1 });
    expect(found).toMatchObject([stored(3, 'large'), failed(/larger than 67108864 bytes/)]);
    console.log('64 MiB is read in', found[0]?.['ms'], 'ms');
  }, 180_000);
});

it('without private-api is ERROR, and there is what there was before', async () => {
  const before = { id: 5, content: order('before') };
  expect(await invoke(before)).toEqual([stored(5, 'before')]);
  await privateApi.kill();
  // The model answers still; whose key it is nobody knows.
  const after = { id: 5, content: order('after') };
  expect(await invoke(after, { ...after, key: keys[0] })).toMatchObject([
    { status: 'ERROR', message: 'The result cannot be stored at the moment.', read: 503 },
    { code: 'UNAVAILABLE', read: 503 },
  ]);
  privateApi = await server.startPrivateApi();
  const answer = await fetch(`${server.publicApiUrl}/invocation/5`);
  expect([answer.status, await answer.text()]).toEqual([200, expect.stringContaining('before ')]);
  expect(await invoke(after)).toEqual([stored(5, 'after')]);
}, 120_000);
