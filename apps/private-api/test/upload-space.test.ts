import { execFile } from 'node:child_process';
import { mkdir, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rawExchange, testFolder, waitUntil, type RawStep } from '@inference-server/testing';
import { formOf, runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';
import { claimTask } from './task-helpers.js';

const mib = 1024 ** 2;

// A file system of some mebibytes has to be mounted.
describe.runIf(process.getuid?.() === 0)('uploads to a small disk', () => {
  let api: RunningPrivateApi;
  beforeAll(async () => {
    const folder = join(await testFolder(), 'small');
    await mkdir(folder);
    await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', folder]);
    api = await runPrivateApi({ STORAGE_URL: folder, MIN_FREE_BYTES: 16 * mib });
    await api.postModel('copy');
  });
  afterAll(() => api.close());

  const exchange = (steps: RawStep[], expected = Infinity) =>
    rawExchange(Number(new URL(api.base).port), steps, { expected });
  const head = (fields: string, model = 'copy') =>
    [
      `POST /api/tasks/?human_readable_id=${model} HTTP/1.1`,
      'Host: localhost',
      `Authorization: Bearer ${api.operatorToken}`,
      `${fields}\r\n\r\n`,
    ].join('\r\n');
  const bare = 'Content-Type: application/zip';
  const form = 'Content-Type: multipart/form-data; boundary=x';
  const expectContinue = 'Expect: 100-continue';

  it.each([
    ['bare', bare],
    ['a form', form],
  ])('are refused before a byte of them is asked for: %s', async (_what, type) => {
    const before = await api.stored();
    const { answers, heard } = await exchange([
      head(`${type}\r\nContent-Length: ${49 * mib}\r\n${expectContinue}`),
    ]);
    expect(answers).toMatchObject([{ status: 507, code: 'STORAGE_FULL', isLast: true }]);
    expect(heard).not.toContain('100 Continue');
    expect(heard).toMatch(/retry-after: 60/i);
    expect(await api.stored()).toEqual(before);
  });

  it('are not asked for when the model is unknown or the limit passed', async () => {
    const declared = `${bare}\r\nContent-Length: ${mib}\r\n${expectContinue}`;
    const unknown = await exchange([head(declared, 'unknown')]);
    expect(unknown.answers).toMatchObject([{ status: 550, isLast: true }]);
    const tooLarge = declared.replace(String(mib), String(1024 ** 4));
    const large = await exchange([head(tooLarge)]);
    expect(large.answers).toMatchObject([{ status: 413, isLast: true }]);
    expect(unknown.heard + large.heard).not.toContain('100 Continue');
  });

  it('of unknown length are ended before the disk is full', async () => {
    const before = await api.stored();
    const chunk = Buffer.concat([
      Buffer.from('100000\r\n'),
      Buffer.alloc(mib),
      Buffer.from('\r\n'),
    ]);
    const { answers } = await exchange(
      [head(`${bare}\r\nTransfer-Encoding: chunked`), { drip: chunk, everyMs: 0, times: 60 }],
      1,
    );
    expect(answers).toMatchObject([{ status: 507, code: 'STORAGE_FULL' }]);
    expect(await api.stored()).toEqual(before);
  });

  it.each([
    ['bare', bare, ''],
    [
      'a form',
      form,
      '--x\r\nContent-Disposition: form-data; name="zip_file"; filename="a"\r\n\r\n',
    ],
  ])('give back what they were promised when they are cut: %s', async (_what, type, start) => {
    const before = await api.stored();
    const declared = `Content-Length: ${40 * mib}\r\n${expectContinue}`;
    let cut = (): void => undefined;
    const held = new Promise<void>((resolve) => (cut = resolve));
    const running = exchange([
      head(`${type}\r\n${declared}`),
      start,
      Buffer.alloc(mib),
      { until: held },
      { then: 'reset' },
    ]);
    const received = async () => (await api.stored()).files > before.files;
    expect(await waitUntil(received, { timeoutMs: 5_000 })).toBe(true);

    const fits = async () => {
      const another = [head(`${bare}\r\n${declared}`), { awaiting: /HTTP/ }, { then: 'close' }];
      const { heard } = await exchange(another as RawStep[]);
      return heard.includes('100 Continue');
    };
    expect(await fits()).toBe(false);
    cut();
    await running;
    expect(await waitUntil(fits, { timeoutMs: 5_000 })).toBe(true);
    const clean = async () => JSON.stringify(await api.stored()) === JSON.stringify(before);
    expect(await waitUntil(clean, { timeoutMs: 5_000 })).toBe(true);
  });

  it('stop before results do: an output may use most of what posts leave free', async () => {
    const uid = await api.postTask('copy', zipOf({ a: 'b' }));
    const consumer = await claimTask(api, uid);
    // What is free lies between what posts and what outputs have to leave.
    const filler = join(api.config.STORAGE_URL, 'filler');
    const { bavail, bsize } = await statfs(api.config.STORAGE_URL);
    await writeFile(filler, Buffer.alloc(bavail * bsize - 8 * mib));
    try {
      const isFull = async () =>
        (
          await api.call('/api/tasks/?human_readable_id=copy', {
            method: 'POST',
            body: zipOf({ a: 'b' }),
            headers: { 'content-type': 'application/zip' },
          })
        ).status === 507;
      expect(await waitUntil(isFull, { timeoutMs: 5_000 })).toBe(true);
      const zip = zipOf({ result: 'x' });
      expect((await consumer.putOutput(uid, zip)).status).toBe(200);
      expect(await consumer.finish(uid, zip)).toEqual({ outcome: 'settled' });
      const got = await (await api.call(`/api/tasks/${uid}`)).arrayBuffer();
      expect(Buffer.from(got).equals(zip)).toBe(true);
    } finally {
      await rm(filler);
    }
    const fits = async () => {
      const answer = await api.call(
        '/api/models/?container_tag=a:1&human_readable_id=b&model_available=true',
        {
          method: 'POST',
          body: formOf(['zip_file', zipOf({ a: 'b' })]),
        },
      );
      return answer.status === 200;
    };
    expect(await waitUntil(fits, { timeoutMs: 5_000 })).toBe(true);
  });

  it('go on with a small one', async () => {
    expect(await api.postTask('copy', zipOf({ a: 'b' }))).toHaveLength(43);
  });
});
