import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { listZip, outputTar, special, streamOf, zipOf } from './trees.js';
import { tarExtension } from './tar-extension.js';

describe('tarToZip', () => {
  it('says of each name so much that a line stays short, whatever it is made of', async () => {
    const names = ['\u202e'.repeat(80), '\u{1f600}'.repeat(60), '\n'.repeat(90)];
    const parts = names.map((name) => special(`output/${name}`, 'fifo'));
    const { zip, leftOut } = zipOf(streamOf(await outputTar(parts)));
    await buffer(zip);
    expect(leftOut).toHaveLength(3);
    for (const line of leftOut) expect(line.length).toBeLessThan(330);
    expect(leftOut[0]).toMatch(/^left out: fifo (\\u\{202e\}){30,}…$/);
  });

  it('reads an extended header of no length, one for all, and GNU names', async () => {
    const tar = await outputTar([
      { name: 'output/a', content: 'x' },
      { name: 'output/b', content: 'yy' },
    ]);
    const parts = [
      tar.subarray(0, 512),
      tarExtension('x', ''),
      tarExtension('g', '19 comment=for all\n'),
      tarExtension('g', '12 size=001\n'),
      tar.subarray(512, 1536),
      tarExtension('L', `output/${'long'.repeat(60)}\0`),
      tarExtension('x', '10 size=2\n'),
      tar.subarray(1536),
    ];
    const { zip } = zipOf(streamOf(Buffer.concat(parts)));
    const found = await listZip(await testFolder(), await buffer(zip));
    expect(found.slice(1).map(({ name, content }) => [name, content])).toEqual([
      ['a', 'x'],
      ['long'.repeat(60), 'yy'],
    ]);
  });
});
