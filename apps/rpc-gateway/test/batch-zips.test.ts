import AdmZip from 'adm-zip';
import { expect, test } from 'vitest';
import { defaultZipLimits, readZipEntries, zipOfBytes } from '@inference-server/archive';
import { batchInputOf } from '@inference-server/protos';
import { inputZip, outputsIn } from '../src/core/batch-zips.js';

const MiB = 1024 ** 2;
const { signal } = new AbortController();

test('a volume that is all zeros passes the gate, however little a zip would pack it to', async () => {
  const mask = new Uint8Array(80 * MiB);
  const pieces: Buffer[] = [];
  for await (const piece of inputZip(batchInputOf({ mask }, MiB))) pieces.push(piece);
  const found = await bytesIn(Buffer.concat(pieces));
  const document = Buffer.from('{"mask":{"file":"inputs/mask"}}');
  expect([...found]).toEqual([
    ['inputs.json', document.length],
    ['inputs/mask', mask.length],
  ]);
});

test('a file counts as often as outputs.json names it, before it is read', async () => {
  const zip = new AdmZip();
  const places = Array.from({ length: 1_000 }, () => ({ file: 'outputs/a' }));
  zip.addFile('outputs.json', Buffer.from(JSON.stringify({ one: places[0], more: places })));
  zip.addFile('outputs/a', Buffer.alloc(10_000, 0xff));
  const held: number[] = [];
  const bounds = {
    ...{ maxDocumentBytes: MiB, areTensors: false, signal },
    hold: (bytes: number) => void held.push(bytes),
  };
  const ask = (maxBytes: number) => outputsIn(zip.toBuffer(), { ...bounds, maxBytes });
  await expect(ask(10_009_999)).rejects.toMatchObject({
    code: 'MODEL_ERROR',
    message: "The model's output is larger than an answer may be.",
  });
  expect(held).toHaveLength(1);
  const { one, more } = await ask(10_010_000);
  expect(held.at(-1)).toBe(10_010_000);
  expect((one as Uint8Array).byteLength).toBe(10_000);
  expect(more).toHaveLength(1_000);
});

async function bytesIn(zip: Buffer): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for await (const { file, content } of readZipEntries(zipOfBytes(zip), defaultZipLimits, signal)) {
    let bytes = 0;
    for await (const chunk of content()) bytes += chunk.length;
    found.set(file?.path ?? '', bytes);
  }
  return found;
}
