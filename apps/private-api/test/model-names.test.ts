import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Problem, Role } from '@inference-server/contracts';
import { createClient, type Client } from '@inference-server/sdk';
import { publicApiToken } from '@inference-server/service-kit';
import { files } from './model-files.js';
import { actingFor, runPrivateApi, type RunningPrivateApi } from './running-private-api.js';
import { openSlowly } from './slow-zip.js';

let api: RunningPrivateApi;
let client: Client;

beforeAll(async () => {
  api = await runPrivateApi();
  client = createClient({ baseUrl: api.base, token: api.operatorToken });
});
afterAll(() => api.close());

const named = (id: string) => ({ human_readable_id: id, container_tag: 'a:1' });
const exists = {
  code: 'MODEL_EXISTS',
  status: 409,
  extensions: { parameter: 'human_readable_id' },
};

it('is refused where one is there that ZeroRPC could not tell from it', async () => {
  await client.postModel(named('a.b'));
  for (const id of ['a_b', 'a b', 'a-b', 'a:b']) {
    await expect(client.postModel(named(id)), id).rejects.toMatchObject(exists);
    await expect(client.putModel(named(id)), id).rejects.toMatchObject(exists);
    await expect(client.getModel(id)).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
  }
  // Those are other names, and the model itself has its next versions.
  for (const id of ['axb', 'A.b', 'a.b.', 'a__b']) await client.postModel(named(id));
  expect(await client.putModel({ ...named('a.b'), use_gpu: true })).toMatchObject({ version: 2 });
});

it('is refused before its files are read', async () => {
  await client.postModel(named('f.g'));
  const before = await api.stored();
  await expect(client.postModel({ ...named('f_g'), zip: files('1') })).rejects.toMatchObject(
    exists,
  );
  await expect(client.putModel({ ...named('f_g'), zip: files('1') })).rejects.toMatchObject(exists);
  expect(await api.stored()).toEqual(before);
});

it('comes first where several that are alike come at once, and leaves nothing of the others', async () => {
  for (const name of ['r', 's', 't']) {
    const before = await api.stored();
    const ids = ['.1', '_1', ' 1', '-1', ':1'].map((end) => name + end);
    const answers = await Promise.allSettled(
      ids.map((id, n) =>
        n % 2 === 0
          ? client.postModel({ ...named(id), zip: files(id) })
          : client.putModel({ ...named(id), zip: files(id) }),
      ),
    );
    const refusals = answers.filter(({ status }) => status === 'rejected');
    expect(refusals).toMatchObject(Array.from({ length: 4 }, () => ({ reason: exists })));
    expect((await api.stored()).files).toBe(before.files + 1);
  }
});

it('is refused when another came while its files were on the way', async () => {
  const before = await api.stored();
  const zip = openSlowly(api, files('1'));
  const posting = client.postModel({ ...named('slow.1'), zip: zip.stream });
  const refused = expect(posting).rejects.toMatchObject(exists);
  await zip.begun();
  await client.postModel(named('slow_1'));
  zip.finish();
  await refused;
  expect((await api.stored()).files).toBe(before.files);
});

it('takes the place of a deleted one if that was its owner’s', async () => {
  const as = async (owner: string, role: Role, method: string, id: string) => {
    const query = method === 'PUT' ? '?container_tag=a:1' : '';
    const answer = await api.call(
      `/api/models/${encodeURIComponent(id)}${query}`,
      { method, headers: actingFor(owner, role) },
      publicApiToken(api.operatorToken),
    );
    const { code } = (await answer.json()) as Partial<Problem>;
    return code ?? answer.status;
  };
  expect(await as('key:a', 'publish', 'PUT', 'd.1')).toBe(200);
  expect(await as('key:a', 'publish', 'DELETE', 'd.1')).toBe(200);
  expect(await as('key:b', 'publish', 'PUT', 'd_1')).toBe('FORBIDDEN');
  expect(await as('key:a', 'publish', 'PUT', 'd_1')).toBe(200);
  expect(await as('key:a', 'publish', 'PUT', 'd.1')).toBe('MODEL_EXISTS');
  expect(await as('key:a', 'publish', 'DELETE', 'd_1')).toBe(200);
  expect(await as('key:b', 'operate', 'PUT', 'd 1')).toBe(200);
  expect(await as('key:b', 'operate', 'DELETE', 'd 1')).toBe(200);
  // What was one's own stays so, whoever else had one like it.
  expect(await as('key:a', 'publish', 'PUT', 'd.1')).toBe(200);
});
