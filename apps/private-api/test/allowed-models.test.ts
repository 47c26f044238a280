import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { runPrivateApi } from './running-private-api.js';

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
        detail: expect.stringContaining('busybox:1'),
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

it('does not start with a policy that is broken', async () => {
  const path = join(await testFolder(), 'policy.yaml');
  await writeFile(path, 'images: any');
  await expect(runPrivateApi({ POLICY_FILE: path })).rejects.toThrow(/POLICY_FILE: images/);
});
