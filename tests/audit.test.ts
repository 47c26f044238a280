import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import AdmZip from 'adm-zip';
import type { AuditEvent, CreatedKey } from '@inference-server/contracts';
import type { TestApp } from '@inference-server/testing';
import { runServer, type RunningServer } from './running-server.js';

let server: RunningServer;
let door: TestApp;
let admin: Record<string, string>;
beforeAll(async () => {
  server = await runServer();
  await server.startPrivateApi();
  const operator = { authorization: `Bearer ${server.token}` };
  admin = await keyOf('admin', server.privateApiUrl, operator);
  // As behind a proxy: what it says of the caller's address is believed.
  door = await server.startPublicApi({ TRUSTED_PROXIES: 'loopback', ANONYMOUS_ROLE: 'none' });
  await server.database.query(
    `WITH m AS (INSERT INTO models (human_readable_id, description, current_version)
                VALUES ('copy', '', 1) RETURNING human_readable_id)
     INSERT INTO model_versions (human_readable_id, number, container_tag, use_gpu, pull_policy)
     SELECT human_readable_id, 1, 'a:1', false, 'missing' FROM m`,
  );
}, 60_000);
afterAll(() => door.stop());

const zip = new AdmZip();
zip.addFile('a', Buffer.from('b'));

async function keyOf(role: string, base: string, headers: Record<string, string>) {
  const answer = await fetch(`${base}/api/admin/keys/`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify({ name: role, role }),
  });
  const { key } = (await answer.json()) as CreatedKey;
  return { authorization: `Bearer ${key}` };
}

const ask = (path: string, init: RequestInit & { headers: Record<string, string> }) =>
  fetch(server.publicApiUrl + path, { ...init, signal: AbortSignal.timeout(20_000) });

async function exported(query: string): Promise<AuditEvent[]> {
  const answer = await ask(`/api/admin/audit?${query}`, { headers: admin });
  const text = await answer.text();
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as AuditEvent);
}

describe('the audit behind public-api', () => {
  it('tells the key and the address of the caller, and not what the caller says of them', async () => {
    const submit = await keyOf('submit', server.publicApiUrl, admin);
    const forged = JSON.stringify({
      owner: 'user:else',
      role: 'admin',
      credential: 'user:else',
      address: '203.0.113.9',
    });
    const answer = await ask('/api/tasks/?human_readable_id=copy', {
      method: 'POST',
      body: new Uint8Array(zip.toBuffer()),
      headers: {
        ...submit,
        'content-type': 'application/zip',
        'inference-caller': forged,
        // The last one the proxy has seen; what stands before it anybody can write.
        'x-forwarded-for': '203.0.113.9, 198.51.100.7',
      },
    });
    const uid = (await answer.json()) as string;
    const id = submit.authorization.split('_')[1] ?? '';
    expect(await exported(`object=${uid}`)).toMatchObject([
      {
        action: 'post_task',
        owner: `key:${id}`,
        credential: `key:${id}`,
        address: '198.51.100.7',
      },
    ]);
    expect(JSON.stringify(await exported(''))).not.toContain('203.0.113.9');
  });

  it('tells of refused attempts, of whom they are, and of no secret', async () => {
    const submit = await keyOf('submit', server.publicApiUrl, admin);
    const wrong = `isk_${'a'.repeat(16)}_${'A'.repeat(43)}`;
    for (let time = 0; time < 5; time += 1) {
      await ask('/api/tasks/', { headers: { authorization: `Bearer ${wrong}` } });
    }
    expect((await ask('/api/tasks/', { headers: {} })).status).toBe(401);
    expect((await ask('/api/admin/audit', { headers: submit })).status).toBe(403);
    const foreign = await ask(`/api/tasks/${'x'.repeat(43)}`, { headers: submit });
    expect(foreign.status).toBe(554);
    await door.stop();
    door = await server.startPublicApi({ TRUSTED_PROXIES: 'loopback', ANONYMOUS_ROLE: 'none' });
    const key = `key:${submit.authorization.split('_')[1] ?? ''}`;
    const refused = await exported('action=refused_attempt');
    expect(
      refused.map(({ owner, object_id, refusal, times }) => [owner, object_id, refusal, times]),
    ).toEqual(
      expect.arrayContaining([
        ['unknown', 'listTasks', 'UNAUTHORIZED', 6],
        [key, 'exportAudit', 'FORBIDDEN', 1],
      ]),
    );
    expect(refused).toHaveLength(2);
    const all = JSON.stringify(await exported(''));
    for (const secret of [wrong, submit.authorization.slice(7), server.token]) {
      // Of a key without its public part: the rest is in no line, whatever characters it has.
      expect(all).not.toContain(secret.replace(/^isk_[^_]+_/, ''));
    }
  });
});
