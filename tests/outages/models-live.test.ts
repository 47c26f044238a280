import AdmZip from 'adm-zip';
import { beforeAll, describe, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import { runServer, type RunningServer } from '../running-server.js';

let server: RunningServer;

beforeAll(async () => {
  server = await runServer({ CPU_SLOTS: '1', SWEEP_INTERVAL_S: '0.5' });
  await server.startPrivateApi({ SWEEP_INTERVAL_S: '0.5' });
  await server.startPublicApi();
  await server.startConsumer('cpu');
}, 60_000);

const model = 'live model:1';

describe('a model that changes and goes', () => {
  it('leaves each task the files of its version, and then nothing', async () => {
    expect(await put('one')).toMatchObject({ version: 1, model_available: true });
    const running = await post(
      'while [ ! -e /model/never ] && [ $((n+=1)) -lt 15 ]; do sleep 0.2; done',
    );
    expect(await waitUntil(() => isIn('RUNNING', running), { timeoutMs: 20_000 })).toBe(true);
    expect(await put('two')).toMatchObject({ version: 2 });
    const waiting = await post('true');
    await server.client.deleteModel(model);
    await expect(post('true')).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
    expect(await isIn('RUNNING', running)).toBe(true);
    expect(await isIn('FINISHED', waiting)).toBe(false);
    expect(await seenBy(running)).toBe('one');
    expect(await seenBy(waiting)).toBe('two');
    await expectNothingLeft();

    expect(await put('three')).toMatchObject({ version: 3 });
    expect(await seenBy(await post('true'))).toBe('three');
    await server.client.deleteModel(model);
    await expectNothingLeft();
  }, 60_000);

  it('is replaced under tasks that come all the time', async () => {
    const uids: string[] = [];
    for (const name of ['a', 'b', 'c']) {
      const { version } = await put(name);
      const posted = await Promise.all([post('true'), post('true'), put(`${name}${name}`)]);
      expect(posted[2].version).toBe(version + 1);
      uids.push(posted[0], posted[1]);
    }
    const seen = await Promise.all(uids.map(seenBy));
    expect(seen.map((name) => name.slice(0, 1))).toEqual(['a', 'a', 'b', 'b', 'c', 'c']);
    await server.client.deleteModel(model);
    await expectNothingLeft();
  }, 60_000);
});

function put(name: string) {
  const zip = new AdmZip();
  zip.addFile('name', Buffer.from(name));
  return server.client.putModel({
    human_readable_id: model,
    container_tag: 'inference-server-test/script:1',
    zip: zip.toBuffer(),
  });
}

function post(script: string): Promise<string> {
  const zip = new AdmZip();
  zip.addFile('run.sh', Buffer.from(`${script}; cat /model/name > /output/seen`));
  return server.client.postTask({ human_readable_id: model, zip: zip.toBuffer() });
}

async function seenBy(uid: string): Promise<string> {
  const { zip } = await server.client.waitForTask(uid, { signal: AbortSignal.timeout(40_000) });
  return new AdmZip(Buffer.from(await new Response(zip).arrayBuffer())).readAsText('seen');
}

async function isIn(state: string, uid: string): Promise<boolean> {
  const rows = await server.database.query(
    'SELECT uid FROM tasks WHERE uid = $1 AND state::text = $2',
    [uid, state],
  );
  return rows.length > 0;
}

/** Neither in the engine nor among the blobs: only inputs and outputs of tasks are stored. */
async function expectNothingLeft(): Promise<void> {
  let left: unknown[] = [];
  const isClean = async () => {
    const blobs = await server.database.query<{ id: string }>(
      `SELECT id FROM blobs WHERE state <> 'stored' OR NOT EXISTS
         (SELECT 1 FROM tasks WHERE input_blob_id = blobs.id OR output_blob_id = blobs.id)`,
    );
    left = [...(await server.inEngine()), ...blobs];
    return left.length === 0;
  };
  await waitUntil(isClean, { timeoutMs: 15_000 });
  expect(left).toEqual([]);
}
