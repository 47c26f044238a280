import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { followLog, type LogLine } from '../src/world/log-tail.js';

it('hands on every line, whole, with what is no JSON, and catches up when asked', async () => {
  const file = join(await testFolder(), 'app.log');
  const lines: LogLine[] = [];
  const tail = followLog(file, (line) => lines.push(line));
  try {
    await tail.catchUp();
    // No power of two divides this length: characters lie across every border of a buffer.
    const texts = Array.from({ length: 2_000 }, (_, at) => `${at} ${'ä→𝄞'.repeat(30)}`);
    await appendFile(file, texts.map((msg) => `${JSON.stringify({ pid: 7, msg })}\n`).join(''));
    await appendFile(file, 'words of a library\n{"no":"message"}\n{"msg":"half');
    await tail.catchUp();
    expect(lines.slice(0, 2_000).map(({ msg }) => msg)).toEqual(texts);
    expect(lines.slice(2_000)).toMatchObject([
      { pid: 0, msg: 'words of a library' },
      { pid: 0, msg: '{"no":"message"}' },
    ]);
    await appendFile(file, '"}\n');
  } finally {
    await tail.close();
  }
  expect(lines.at(-1)?.msg).toBe('half');
});
