import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callerHeader, writeCaller, type GatewayNews } from '@inference-server/contracts';
import { rpcGatewayToken } from '@inference-server/service-kit';
import { hostModel, playGateway } from './replica-players.js';
import { runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
});

afterAll(() => api.close());

const named = ({ batch_models: models = [] }: GatewayNews) =>
  models.map(({ human_readable_id: name, version }) => `${name} ${version}`);

it('a gateway is told of batch models, at their current versions and no others', async () => {
  const gateway = playGateway(api);
  await api.postModel('cat');
  await api.postModel('dog', '&description=barks');
  await hostModel(api, 'iris');
  const news = await gateway.until((told) => told.models?.length === 1);
  expect(named(news)).toEqual(['cat 1', 'dog 1']);
  expect(news.batch_models?.[1]).toMatchObject({ description: 'barks' });

  // One that waits hears of another version, of one that is hosted from now on, and of one that is deleted.
  const next = gateway.sync(revisionsOf(news));
  await api.call('/api/models/cat?container_tag=busybox:2', { method: 'PUT' });
  const second = await next;
  expect(named(second)).toEqual(['cat 2', 'dog 1']);
  const third = gateway.sync(revisionsOf(second));
  await hostModel(api, 'cat');
  expect(named(await third)).toEqual(['dog 1']);
  await api.call('/api/models/dog', { method: 'DELETE' });
  expect(named(await gateway.until((told) => named(told).length === 0))).toEqual([]);

  const known = await gateway.sync();
  const same = { models_revision: known.models_revision };
  expect(await gateway.sync(same)).not.toHaveProperty('batch_models');
});

describe('a gateway', () => {
  const headersOf = (owner: string) => ({
    'content-type': 'application/zip',
    [callerHeader]: writeCaller({ owner, role: 'submit', credential: owner, address: '10.0.0.1' }),
  });
  const ask = (path: string, method: string, owner: string, body?: Buffer<ArrayBuffer>) =>
    api.call(
      path,
      { method, headers: headersOf(owner), ...(body && { body }) },
      rpcGatewayToken(api.operatorToken),
    );

  it('posts, asks for and cancels tasks of those whom it acts for, and of nobody else', async () => {
    await api.postModel('cow');
    const zip = zipOf({ 'inputs.json': '{}' });
    const posted = await ask('/api/tasks/?human_readable_id=cow', 'POST', 'key:a', zip);
    const uid = (await posted.json()) as string;
    expect(await statusOf(ask(`/api/tasks/${uid}`, 'GET', 'key:a'))).toBe(551);
    expect(await statusOf(ask(`/api/tasks/${uid}/cancel`, 'POST', 'key:b'))).toBe(554);
    expect(await statusOf(ask(`/api/tasks/${uid}/cancel`, 'POST', 'key:a'))).toBe(200);
    expect(await statusOf(ask(`/api/tasks/${uid}`, 'GET', 'key:a'))).toBe(552);
  });

  it.each([
    ['/api/tasks/', 'GET'],
    ['/api/tasks/x/log', 'GET'],
    ['/api/tasks/x', 'DELETE'],
    ['/api/models/cow', 'DELETE'],
  ])('has no business with %s by %s', async (path, method) => {
    expect(await statusOf(ask(path, method, 'key:a'))).toBe(403);
  });
});

function revisionsOf({ revision, models_revision }: GatewayNews) {
  return { revision, models_revision };
}

async function statusOf(asked: Promise<Response>): Promise<number> {
  const answer = await asked;
  await answer.body?.cancel();
  return answer.status;
}
