import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { payloads } from '../src/docker/frames.js';

const frames = Buffer.concat([frame(1, 'out'), frame(2, ''), frame(2, 'error'), frame(1, 'end')]);

describe('the frames of an engine', () => {
  it('come apart wherever the stream is split', async () => {
    for (let size = 1; size <= frames.length; size += 1) {
      expect(await textOf(frames, size)).toBe('outerrorend');
    }
  });

  it('are refused when they end inside one', async () => {
    const unreachable = { problem: 'unreachable' };
    for (const bytes of [1, 7, 8, 10, frames.length - 1]) {
      await expect(textOf(frames.subarray(0, bytes), 4)).rejects.toMatchObject(unreachable);
    }
    expect(await textOf(frames.subarray(0, 11), 4)).toBe('out');
  });
});

function frame(stream: number, payload: string): Buffer {
  const head = Buffer.alloc(8);
  head[0] = stream;
  head.writeUInt32BE(payload.length, 4);
  return Buffer.concat([head, Buffer.from(payload)]);
}

async function textOf(bytes: Buffer, size: number): Promise<string> {
  const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
    bytes.subarray(at * size, (at + 1) * size),
  );
  const found: Buffer[] = [];
  for await (const chunk of payloads(Readable.from(parts))) found.push(chunk);
  return Buffer.concat(found).toString();
}
