import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Model } from '@inference-server/contracts';
import { testFolder } from '@inference-server/testing';
import { runPrivateApi, type RunningPrivateApi } from './running-private-api.js';
import { stateOfTask } from './task-helpers.js';

it('registers what the policy allows, and says which rule refuses another', async () => {
  const path = join(await testFolder(), 'policy.yaml');
  await writeFile(path, 'images:\n  - registry: r.example\n');
  const api = await runPrivateApi({ POLICY_FILE: path });
  try {
    const send = (method: string, place: string, image: string) =>
      api.call(`/api/models/${place}container_tag=${encodeURIComponent(image)}`, { method });
    const ways = [
      ['POST', '?human_readable_id=m&'],
      ['PUT', 'm?'],
    ] as const;
    for (const [method, place] of ways) {
      const refused = await send(method, place, 'busybox:1');
      expect(refused.status).toBe(403);
      expect(await refused.json()).toMatchObject({
        ...{ code: 'FORBIDDEN', parameter: 'container_tag', reason: 'images' },
        detail: expect.stringContaining('none of the images'),
      });
    }
    expect((await api.call('/api/models/m')).status).toBe(550);
    for (const [method, place] of ways) {
      expect((await send(method, place, 'r.example/busybox:1')).status).toBe(200);
    }
  } finally {
    await api.close();
  }
});

describe('what a model asks of its sandbox', () => {
  let api: RunningPrivateApi;
  beforeAll(async () => {
    const path = join(await testFolder(), 'policy.yaml');
    await writeFile(path, 'allow:\n  - { model: lung-*, networks: [pacs], cap_add: [SYS_NICE] }\n');
    api = await runPrivateApi({ POLICY_FILE: path });
  });
  afterAll(() => api.close());
  const put = (id: string, query: string) =>
    api.call(`/api/models/${id}?container_tag=a:1&${query}`, { method: 'PUT' });
  const everything = 'network=pacs&user=1000:1000&read_only_root=True&cap_add=SYS_NICE';
  const asTold = {
    ...{ network: 'pacs', user: '1000:1000', read_only_root: true, cap_add: ['SYS_NICE'] },
  };

  it('is told of it, and to whoever runs it', async () => {
    expect(await (await put('lung-1', everything)).json()).toMatchObject(asTold);
    expect(await (await api.call('/api/models/lung-1')).json()).toMatchObject(asTold);
    const uid = await api.postTask('lung-1');
    const consumer = api.consumer('c');
    await consumer.register();
    await expect.poll(async () => (await stateOfTask(api, uid))?.state).toBe('QUEUED');
    expect(await consumer.claim(uid)).toMatchObject({ outcome: 'won', work: { rights: asTold } });
    await consumer.signOff();
  });

  it('makes another version, where it changes', async () => {
    const versions = [];
    for (const query of ['', 'user=5', 'user=5', 'user=5&network=pacs', 'read_only_root=true']) {
      versions.push(((await (await put('lung-2', query)).json()) as Model).version);
    }
    expect(versions).toEqual([1, 2, 2, 3, 4]);
  });

  it.each([
    ['another network', 'lung-3', 'network=lan', 403, 'network'],
    ['another capability', 'lung-3', 'cap_add=SYS_NICE,KILL', 403, 'cap_add'],
    ['them by another name', 'heart', 'network=pacs', 403, 'network'],
    ['the network of the host', 'lung-3', 'network=host', 422, 'network'],
    ['that of another container', 'lung-3', 'network=container:a', 422, 'network'],
    ['to be root', 'lung-3', 'user=0', 422, 'user'],
    ['a user by name', 'lung-3', 'user=root', 422, 'user'],
    ['what nobody may have', 'lung-3', 'cap_add=SYS_ADMIN', 422, 'cap_add'],
  ])('is refused: %s', async (_what, id, query, status, parameter) => {
    const refused = await put(id, query);
    expect(refused.status).toBe(status);
    expect(await refused.json()).toMatchObject({ parameter });
  });
});

it('does not start with a policy that is broken', async () => {
  const path = join(await testFolder(), 'policy.yaml');
  await writeFile(path, 'images: any');
  await expect(runPrivateApi({ POLICY_FILE: path })).rejects.toThrow(/POLICY_FILE: images/);
});
