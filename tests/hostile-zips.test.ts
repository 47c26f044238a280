import { beforeAll, describe, expect, it } from 'vitest';
import type { Problem } from '@inference-server/contracts';
import type { TestApp } from '@inference-server/testing';
import { hostileZips } from '../packages/archive/test/hostile-zips.js';
import type { HostileZip } from '../packages/archive/test/hostile-zip.js';
import { longNames } from '../packages/archive/test/long-names.js';
import { buildZip } from '../packages/archive/test/zip-builder.js';
import { runServer, type RunningServer } from './running-server.js';
import { expectTaskToRun, tracesOf, type Traces, noSweeps } from './traces.js';

const model = 'script';
let server: RunningServer;
let privateApi: TestApp;
let publicApi: TestApp;
let consumer: TestApp;
let traces: Traces;

beforeAll(async () => {
  server = await runServer();
  privateApi = await server.startPrivateApi(noSweeps);
  publicApi = await server.startPublicApi();
  consumer = await server.startConsumer();
  await server.postModel(model);
}, 60_000);

async function restartPrivateApi(settings: Record<string, string>): Promise<void> {
  await privateApi.stop();
  privateApi = await server.startPrivateApi({ ...settings, ...noSweeps });
  traces = tracesOf(server, privateApi);
}

/** The zips by the limits that they break: a server has one set of them. */
const byLimits = new Map<string, HostileZip[]>();
for (const hostile of hostileZips) {
  const limits = JSON.stringify(settingsOf(hostile.rules));
  byLimits.set(limits, [...(byLimits.get(limits) ?? []), hostile]);
}

describe.each([...byLimits])('with the limits %s', (limits, zips) => {
  beforeAll(() => restartPrivateApi(JSON.parse(limits) as Record<string, string>), 30_000);

  it.each(zips.map((hostile, index) => ({ ...hostile, post: ways[index % ways.length] ?? bare })))(
    'refuses $what, and goes on',
    async ({ zip, reason, entry, post }) => {
      const before = await traces.atRest();
      const answer = await post(zip);
      const problem = (await answer.json()) as Problem & { reason?: string; entry?: number };
      expect({ ...problem, entry: problem.entry }).toMatchObject({
        status: 422,
        code: 'ZIP_REFUSED',
        reason,
        entry,
        detail: expect.stringMatching(/^(The zip|Entry \d+ of the zip) is refused: /) as string,
      });
      expect(JSON.stringify(problem)).not.toMatch(/honest|inner|streamed|[<>]/);
      await traces.expect(before);
      await expectTaskToRun(server, model);
    },
    30_000,
  );
});

describe('the names in a zip', () => {
  it('may not take more memory than a thread of the gate has', async () => {
    await restartPrivateApi({});
    const before = await traces.atRest();
    const answer = await bare(longNames(45_000));
    expect(await answer.json()).toMatchObject({
      status: 422,
      code: 'ZIP_REFUSED',
      reason: 'too_much_memory',
    });
    await traces.expect(before);
    await expectTaskToRun(server, model);
  }, 180_000);

  it('are neither in the answer nor in any log', async () => {
    await restartPrivateApi({});
    const name = 'Pat1ent.dcm';
    const entry = { name, content: 'x' };
    for (const lie of [{ crc: 1 }, { mode: 0o120777 }, { name: `../${name}` }, { bytes: 2 }]) {
      const answer = await bare(buildZip([{ ...entry, ...lie }]));
      expect(answer.status).toBe(422);
      expect(await answer.text()).not.toContain('Pat1ent');
    }
    const zip = buildZip([entry, { name: 'run.sh', content: 'ls /input > /output/list' }]);
    const uid = (await (await bare(zip)).json()) as string;
    await server.client.waitForTask(uid, { signal: AbortSignal.timeout(25_000) });
    const logs = await Promise.all([privateApi, publicApi, consumer].map((app) => app.log()));
    const shown = logs
      .flatMap((log) => log.split('\n'))
      .filter((line) => /"level":[3-6]0/.test(line));
    expect(shown.join()).toContain('an attempt ended');
    expect(shown.filter((line) => line.includes('Pat1ent'))).toEqual([]);
  }, 60_000);
});

type Post = (zip: Buffer) => Promise<Response>;

const bare: Post = (zip) =>
  fetch(`${server.publicApiUrl}/api/tasks/?human_readable_id=${model}`, {
    method: 'POST',
    headers: { 'content-type': 'application/zip' },
    body: new Uint8Array(zip),
  });

const form: Post = (zip) => {
  const body = new FormData();
  body.append('zip_file', new Blob([new Uint8Array(zip)]), 'input.zip');
  const url = `${server.publicApiUrl}/api/tasks/?human_readable_id=${model}`;
  return fetch(url, { method: 'POST', body });
};

const modelFiles: Post = (zip) => {
  const query = 'human_readable_id=hostile&container_tag=hostile:1&model_available=true';
  return fetch(`${server.publicApiUrl}/api/models/?${query}`, {
    method: 'POST',
    headers: { 'content-type': 'application/zip' },
    body: new Uint8Array(zip),
  });
};

/** The form comes first: without a byte a bare body is none. */
const ways = [form, bare, modelFiles];

function settingsOf({ maxEntries, maxUnzippedBytes, maxRatio }: HostileZip['rules'] = {}) {
  return {
    ...(maxEntries !== undefined && { MAX_ZIP_ENTRIES: String(maxEntries) }),
    ...(maxUnzippedBytes !== undefined && { MAX_UNZIPPED_BYTES: String(maxUnzippedBytes) }),
    ...(maxRatio !== undefined && { MAX_ZIP_RATIO: String(maxRatio) }),
  };
}
