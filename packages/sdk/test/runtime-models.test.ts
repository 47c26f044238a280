import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { ModelContract, ZipSource } from '../src/index.js';
import { record } from './recorded.js';

describe('runtime models', () => {
  test('are asked with plain values, and with what JSON has no number for', async () => {
    const { client, seen } = await record({ y: [1] });
    const inputs = {
      x: [
        [1.5, NaN],
        [-Infinity, 0],
      ],
      n: 2n ** 63n,
      s: 'ä',
    };
    expect(await client.predict('a b', inputs, { version: 3 })).toEqual({ y: [1] });
    await client.predict('a', {});
    const [first, second] = seen;
    expect([first?.request.method, first?.request.url]).toEqual([
      'POST',
      '/api/models/a%20b/predict?version=3',
    ]);
    expect(first?.request.headers['content-type']).toBe('application/json');
    expect(JSON.parse(String(first?.body))).toEqual({
      ...{
        x: [
          [1.5, 'NaN'],
          ['-Infinity', 0],
        ],
        n: '9223372036854775808',
        s: 'ä',
      },
    });
    expect([second?.request.url, String(second?.body)]).toEqual(['/api/models/a/predict', '{}']);
  });

  test('tell of their replicas', async () => {
    const { client, seen } = await record([]);
    expect(await client.listReplicas('a b')).toEqual([]);
    expect(seen[0]?.request.url).toBe('/api/models/a%20b/replicas');
  });
});

test('an invocation is asked for by its id', async () => {
  const stored = { model_input: { id: -3, content: 'ä', metadata: [] } };
  const { client, seen } = await record(stored);
  expect(await client.invocation(-3)).toEqual(stored);
  expect(seen[0]?.request.url).toBe('/invocation/-3');
});

describe('registrations of runtime models', () => {
  const bytes = Buffer.alloc(3_000_000, 'zip');

  async function tempFile(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'sdk-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, 'input.zip'), bytes);
    return join(folder, 'input.zip');
  }

  const sources: [string, () => ZipSource | Promise<ZipSource>, boolean][] = [
    ['the path of a file', tempFile, true],
    ['a Blob', () => new Blob([bytes]), true],
    ['a Uint8Array', () => new Uint8Array(bytes), true],
    ['a Readable', () => Readable.from([bytes.subarray(0, 10), bytes.subarray(10)]), false],
    ['a ReadableStream', () => new Blob([bytes]).stream(), false],
  ];

  const contract: ModelContract = {
    signature_name: 'predict',
    inputs: [{ name: 'ä', dtype: 'DT_DOUBLE', shape: [-1] }],
    outputs: [],
  };

  test.each(sources)('%s, in a form with a contract', async (_name, source, lengthIsKnown) => {
    const { client, seen } = await record({});
    const model = { human_readable_id: 'iris', container_tag: 'iris:1', kind: 'runtime' } as const;
    await client.putModel({ ...model, contract, max_replicas: 2, zip: await source() });
    const { request, body = Buffer.alloc(0) } = seen[0] ?? {};
    expect(request?.url).toBe(
      '/api/models/iris?container_tag=iris%3A1&kind=runtime&max_replicas=2&model_available=true',
    );
    expect(request?.headers['content-length']).toBe(
      lengthIsKnown ? String(body.length) : undefined,
    );
    const form = partsOf(request, body);
    expect(JSON.parse(String(form.get('contract')))).toEqual(contract);
    expect(sha256(form.get('zip_file') ?? body)).toBe(sha256(bytes));
  });

  test('a contract alone, in a form', async () => {
    const { client, seen } = await record({});
    const model = { human_readable_id: 'iris', container_tag: 'iris:1', kind: 'runtime' } as const;
    await client.postModel({ ...model, contract });
    const { request, body = Buffer.alloc(0) } = seen[0] ?? {};
    expect(request?.url).toContain('model_available=false');
    const form = partsOf(request, body);
    expect([...form.keys()]).toEqual(['contract']);
    expect(JSON.parse(String(form.get('contract')))).toEqual(contract);
  });
});

/** The content of each part by its name; read by hand, as fetch reads forms no more. */
function partsOf(request: IncomingMessage | undefined, body: Buffer): Map<string, Buffer> {
  const [, boundary = ''] =
    /^multipart\/form-data; boundary=(.+)$/.exec(request?.headers['content-type'] ?? '') ?? [];
  const [first, ...parts] = body.toString('latin1').split(`--${boundary}`);
  expect([first, parts.pop()]).toEqual(['', '--\r\n']);
  return new Map(
    parts.map((part) => {
      const end = part.indexOf('\r\n\r\n');
      const [, name = ''] = / name="(\w+)"/.exec(part.slice(0, end)) ?? [];
      expect(part.endsWith('\r\n')).toBe(true);
      return [name, Buffer.from(part.slice(end + 4, -2), 'latin1')];
    }),
  );
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
