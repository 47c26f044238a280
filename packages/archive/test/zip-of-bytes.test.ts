import AdmZip from 'adm-zip';
import { expect, it } from 'vitest';
import { noZipLimits, readZipEntries, zipOfBytes } from '../src/index.js';

const signal = AbortSignal.timeout(60_000);

async function filesIn(zip: Buffer): Promise<Record<string, Buffer>> {
  const files: Record<string, Buffer> = {};
  for await (const { file, content } of readZipEntries(zipOfBytes(zip), noZipLimits, signal)) {
    const chunks: Buffer[] = [];
    for await (const chunk of content()) chunks.push(chunk);
    if (file !== undefined) files[file.path] = Buffer.concat(chunks);
  }
  return files;
}

const zip = new AdmZip();
zip.addFile('a.txt', Buffer.from('hello'));
zip.addFile('outputs/large', Buffer.alloc(1_000_000, 'abc'));
const bytes = zip.toBuffer();

it('a zip in memory is read as one in a file', async () => {
  const files = await filesIn(bytes);
  expect(Object.keys(files)).toEqual(['a.txt', 'outputs/large']);
  expect(files['a.txt']?.toString()).toBe('hello');
  expect(files['outputs/large']).toEqual(Buffer.alloc(1_000_000, 'abc'));
});

it('one that breaks off, wherever, is refused', async () => {
  for (let end = 0; end < bytes.length; end += 97) {
    const part = filesIn(bytes.subarray(0, end));
    await expect(part).rejects.toMatchObject({ code: 'ZIP_REFUSED' });
  }
});
