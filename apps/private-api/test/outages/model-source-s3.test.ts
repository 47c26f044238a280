import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { AwsClient } from 'aws4fetch';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { freePort, testFolder, waitUntil } from '@inference-server/testing';
import { createModelSources } from '../../src/modules/models/sources/model-sources.js';
import { describeModelSource, refusalOf } from '../model-source-conformance.js';
import { unset } from '../source-settings.js';

// A real S3 service, which the workplace has beside the repository: OpenStack Swift with its s3api, from
// Debian's python3-swift.
const tool = fileURLToPath(new URL('../../../../../shared/tools/s3store.py', import.meta.url));

const accessKeyId = 'test:tester';
const secretAccessKey = 'testing';
const keys = { S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: secretAccessKey };

if (!existsSync(tool)) {
  test('a source of models: s3', ({ skip }) => {
    skip('there is no tools/s3store.py in the folder `shared` beside the repository');
  });
} else {
  describeModelSource('s3:', async () => {
    const store = await startStore(tool);
    return {
      source: createModelSources({
        ...{ ...unset, ...keys, S3_ENDPOINT: store.endpoint },
        MODEL_SOURCE_BUCKETS: 'models,more-models,absent-bucket',
      }),
      async put(name, bytes) {
        await store.put('models', name, bytes);
        return `s3://models/${name}`;
      },
      absentUrl: 's3://models/absent.zip',
      refusedUrls: [
        ['a bucket that is not there', 's3://absent-bucket/a.zip'],
        ['a bucket that is not allowed', 's3://secrets/a.zip'],
        ['a bucket that is not allowed, by a way out of one', 's3://models/../secrets/a.zip'],
        ['the same without an end', 's3://models/a/..'],
        ['the same, encoded', 's3://models/%2e%2e/secrets/a.zip'],
        ['no key', 's3://models/'],
        ['no bucket', 's3:///a.zip'],
        ['a name that no bucket has', 's3://models@secrets/a.zip'],
        ['a query', 's3://models/a.zip?versions'],
      ],
      secrets: [secretAccessKey, accessKeyId, store.endpoint],
      close: store.close,
    };
  });

  describe('a store', () => {
    let store: Awaited<ReturnType<typeof startStore>>;
    beforeAll(async () => {
      store = await startStore(tool);
      await store.put('models', 'a.zip', Buffer.from('bytes'));
    }, 120_000);
    afterAll(() => store.close());
    const sourceOf = (own: object) =>
      createModelSources({
        ...{ ...unset, ...keys, S3_ENDPOINT: store.endpoint },
        ...{ MODEL_SOURCE_BUCKETS: 'models', ...own },
      });

    it.each([
      ['S3_ENDPOINT', { S3_ENDPOINT: undefined }],
      ['S3_ACCESS_KEY_ID', { S3_ACCESS_KEY_ID: undefined }],
      ['S3_SECRET_ACCESS_KEY', { S3_SECRET_ACCESS_KEY: undefined }],
      ['MODEL_SOURCE_BUCKETS', { MODEL_SOURCE_BUCKETS: undefined }],
    ])('is none without %s', async (_name, own) => {
      const [code] = await refusalOf(sourceOf(own), 's3://models/a.zip');
      expect(code).toBe('VALIDATION_FAILED');
    });

    it('with a wrong key gives nothing out', async () => {
      const source = sourceOf({ S3_SECRET_ACCESS_KEY: 'wrong' });
      expect((await refusalOf(source, 's3://models/a.zip'))[0]).toBe('VALIDATION_FAILED');
    });

    it('that is stopped is away', async () => {
      await store.close();
      expect((await refusalOf(sourceOf({}), 's3://models/a.zip'))[0]).toBe('SERVICE_UNAVAILABLE');
    });
  });
}

async function startStore(path: string) {
  const folder = await testFolder();
  // It takes the ports after this one, too.
  const port = await freePort();
  const child = spawn('/usr/bin/python3', [path, folder, String(port)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'exit');
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text: Buffer) => (said += text.toString()));
  }
  const isReady = () => /^ready/m.test(said) || child.exitCode !== null;
  await waitUntil(async () => isReady(), { timeoutMs: 90_000 });
  if (!/^ready/m.test(said)) {
    child.kill();
    throw new Error(`${path} did not start (apt-get install python3-swift): ${said}`);
  }
  const endpoint = `http://127.0.0.1:${port}`;
  const client = new AwsClient({
    accessKeyId,
    secretAccessKey,
    service: 's3',
    region: 'us-east-1',
  });
  const ask = async (method: string, at: string, body?: Uint8Array<ArrayBuffer>) => {
    const { url, headers } = await client.sign(`${endpoint}/${at}`, { method });
    const answer = await fetch(url, { method, headers, ...(body && { body }) });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    await answer.arrayBuffer();
  };
  for (const bucket of ['models', 'secrets']) await ask('PUT', bucket);
  return {
    endpoint,
    put: (bucket: string, name: string, bytes: Buffer) =>
      ask(
        'PUT',
        `${bucket}/${name.split('/').map(encodeURIComponent).join('/')}`,
        new Uint8Array(bytes),
      ),
    async close() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      await ended;
    },
  };
}
