import { randomBytes, randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  frameInvocation,
  headedType,
  type Invocation,
  type InvocationHead,
  type Problem,
} from '@inference-server/contracts';
import { publicApiToken, rpcGatewayToken } from '@inference-server/service-kit';
import { getInvocation, headOf, storeInvocation } from './invocation-calls.js';
import { actingFor, runPrivateApi, type RunningPrivateApi } from './running-private-api.js';

const mib = 1024 ** 2;

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
});
afterAll(() => api.close());

const entry = (key: string, value: string) => ({ key, value });
const store = (
  owner: string,
  head: InvocationHead | Uint8Array,
  content: Uint8Array | string,
  on = api,
) => storeInvocation(on, owner, head, content);

const get = (owner: string, id: number | string, on = api, method = 'GET') =>
  getInvocation(on, owner, id, method);

async function stored(owner: string, head: InvocationHead, content: Uint8Array | string, on = api) {
  const answer = await store(owner, head, content, on);
  expect([answer.status, await answer.json()]).toEqual([200, { id: head.id }]);
}

async function refusal(answer: Response) {
  const { code, parameter } = (await answer.json()) as Problem;
  return [answer.status, code, ...(parameter === undefined ? [] : [parameter])];
}

const newOwner = () => `key:${randomUUID()}`;

describe('an invocation', () => {
  it('is answered as the wire page says, to the letter', async () => {
    const owner = newOwner();
    const metadata = [entry('model', 'iris'), entry('a "b"\n', 'ä\u0000')];
    await stored(owner, headOf(17, { metadata, output_metadata: [entry('species', 'x')] }), 'y');
    const answer = await get(owner, 17);
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(await answer.json()).toStrictEqual({
      model_input: { id: 17, content: 'y', metadata },
      model_output: { id: 17, metadata: [entry('species', 'x')] },
    });
  });

  it.each([
    ['nothing', ''],
    ['every character below 128', String.fromCharCode(...Array(128).keys())],
    ['characters of two to four bytes', 'ä€😀\u2028\ufeff'.repeat(50_000)],
    ['quotes and backslashes', '"\\'.repeat(100_000)],
    ['just a MiB', 'x'.repeat(mib)],
    ['one byte more', 'x'.repeat(mib + 1)],
    ['control characters in a blob', '\u0000\n"é'.repeat(mib)],
  ])('gives its content back: %s', async (_what, content) => {
    const owner = newOwner();
    await stored(owner, headOf(-1), content);
    const { model_input } = (await (await get(owner, -1)).json()) as Invocation;
    expect(model_input.content === content).toBe(true);
  });

  it('has the lowest and the highest id', async () => {
    const owner = newOwner();
    for (const id of [-(2 ** 31), 2 ** 31 - 1, 0]) {
      await stored(owner, headOf(id), String(id));
      expect(await (await get(owner, id)).json()).toMatchObject({ model_input: { id } });
    }
  });

  it('is nobody else’s, nor the operator’s', async () => {
    const owner = newOwner();
    await stored(owner, headOf(1), 'mine');
    expect((await get(newOwner(), 1)).status).toBe(404);
    expect((await api.call('/invocation/1')).status).toBe(404);
    expect((await get(owner, 1)).status).toBe(200);
  });

  it('that is not there is a 404 with a message', async () => {
    const answer = await get(newOwner(), 1);
    expect([answer.status, await answer.json()]).toMatchObject([
      404,
      { code: 'INVOCATION_NOT_FOUND', message: 'There is no invocation of this id.' },
    ]);
  });

  it.each(['2147483648', '-2147483649', '1.5', '1e3', '+1', '-0', '007', 'x', '0x10'])(
    'has no id like %s',
    async (id) => {
      expect(await refusal(await get('key:a', id))).toEqual([422, 'VALIDATION_FAILED', 'id']);
    },
  );

  it('answers HEAD without a body, and leaves no file open', async () => {
    const owner = newOwner();
    await stored(owner, headOf(1), 'x'.repeat(2 * mib));
    const answer = await get(owner, 1, api, 'HEAD');
    expect([answer.status, await answer.text()]).toEqual([200, '']);
  });
});

describe('what replaces another', () => {
  it('takes its place, and its blob goes', async () => {
    const owner = newOwner();
    const before = await api.stored();
    await stored(owner, headOf(1), randomBytes(mib).toString('hex'));
    await stored(owner, headOf(1), 'b'.repeat(2 * mib));
    expect(await api.stored()).toMatchObject({
      blobs: (before.blobs ?? 0) + 1,
      files: before.files + 1,
    });
    await stored(owner, headOf(1), 'small');
    expect(await api.stored()).toEqual(before);
    expect(await (await get(owner, 1)).json()).toMatchObject({ model_input: { content: 'small' } });
  });

  it('wins whole, or not at all, of many at once', async () => {
    const owner = newOwner();
    const before = await api.stored();
    const texts = ['a', 'b', 'c', 'd', 'e', 'f'].map((letter, at) =>
      letter.repeat((at % 2) * 2 * mib + 10),
    );
    const reads: Promise<Response>[] = [];
    await Promise.all(
      texts.map(async (text) => {
        await stored(owner, headOf(1, { metadata: [entry('of', text[0] ?? '')] }), text);
        reads.push(get(owner, 1));
      }),
    );
    reads.push(get(owner, 1));
    for (const answer of await Promise.all(reads)) {
      const { model_input } = (await answer.json()) as Invocation;
      expect(texts).toContain(model_input.content);
      expect(model_input.metadata).toEqual([entry('of', model_input.content[0] ?? '')]);
    }
    const isLarge =
      ((await (await get(owner, 1)).json()) as Invocation).model_input.content.length > mib;
    expect(await api.stored()).toMatchObject({ files: before.files + (isLarge ? 1 : 0) });
  });
});

describe('a body that is refused', () => {
  const owner = newOwner();
  const frame = (json: string) => {
    const bytes = Buffer.from(json);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  };

  it.each<[string, Uint8Array, string | Uint8Array, unknown[]]>([
    ['no head', new Uint8Array(0), '', [400, 'MALFORMED_REQUEST']],
    ['half a length', Buffer.alloc(2), '', [400, 'MALFORMED_REQUEST']],
    ['half a head', frame('{"id":1}').subarray(0, 8), '', [400, 'MALFORMED_REQUEST']],
    ['no JSON', frame('{'), '', [422, 'VALIDATION_FAILED', 'head']],
    [
      'another id',
      frame('{"id":1.5,"metadata":[],"output_metadata":[]}'),
      '',
      [422, 'VALIDATION_FAILED', 'head'],
    ],
    ['a head too large', Buffer.from([0, 16, 0, 1]), '', [413, 'PAYLOAD_TOO_LARGE']],
    [
      'no UTF-8',
      frameInvocation(headOf(1)),
      Buffer.from([0x61, 0xff]),
      [422, 'VALIDATION_FAILED', 'content'],
    ],
    [
      'half a character',
      frameInvocation(headOf(1)),
      Buffer.from('ä').subarray(0, 1),
      [422, 'VALIDATION_FAILED', 'content'],
    ],
    [
      'no UTF-8 late',
      frameInvocation(headOf(1)),
      Buffer.concat([Buffer.alloc(2 * mib, 'x'), Buffer.from([0xff])]),
      [422, 'VALIDATION_FAILED', 'content'],
    ],
    [
      'content too large',
      frameInvocation(headOf(1)),
      Buffer.alloc(64 * mib + 1, 'x'),
      [413, 'PAYLOAD_TOO_LARGE'],
    ],
  ])('%s', async (_what, head, content, wanted) => {
    const before = await api.stored();
    expect(await refusal(await store(owner, head, content))).toEqual(wanted);
    expect((await get(owner, 1)).status).toBe(404);
    expect(await api.stored()).toEqual(before);
  });

  it('one that is cut short', async () => {
    const before = await api.stored();
    const cut = request(`${api.base}/internal/invocations`, {
      method: 'POST',
      headers: {
        ...actingFor(owner),
        'content-type': headedType,
        'content-length': 4 * mib,
        authorization: `Bearer ${rpcGatewayToken(api.operatorToken)}`,
      },
    });
    cut.on('error', () => undefined);
    cut.write(Buffer.concat([frameInvocation(headOf(1)), Buffer.alloc(3 * mib, 'x')]));
    await expect.poll(async () => (await api.stored()).files).toBe(before.files + 1);
    cut.destroy();
    await expect.poll(() => api.stored()).toEqual(before);
    expect((await get(owner, 1)).status).toBe(404);
  });

  it('of another door, or for nobody', async () => {
    const init = { method: 'POST', headers: { 'content-type': headedType }, body: 'x' };
    for (const [token, status] of [
      [publicApiToken(api.operatorToken), 403],
      [api.operatorToken, 403],
      [rpcGatewayToken(api.operatorToken), 422],
    ] as const) {
      expect((await api.call('/internal/invocations', init, token)).status).toBe(status);
    }
  });
});

describe('a quota of stored bytes', () => {
  it('counts heads, contents in their place and as blobs', async () => {
    const limited = await runPrivateApi({ MAX_STORED_BYTES_PER_OWNER: 3 * mib });
    try {
      const [a, b] = [newOwner(), newOwner()];
      await stored(a, headOf(1), 'x'.repeat(1.5 * mib), limited);
      await stored(a, headOf(2), 'x'.repeat(mib), limited);
      const answer = await store(a, headOf(3), 'x'.repeat(mib), limited);
      expect(await refusal(answer)).toEqual([403, 'QUOTA_EXCEEDED']);
      expect((await get(a, 3, limited)).status).toBe(404);
      await stored(b, headOf(3), 'x'.repeat(mib), limited);
    } finally {
      await limited.close();
    }
  });
});
