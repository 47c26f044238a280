import { describe, expect, it } from 'vitest';
import { testEngine } from '@inference-server/testing';
import { runImage } from '../../image-import/test/run-image.js';
import { buildImage } from '../build-image.mjs';

describe('the image of the copy example', () => {
  it('gives back its input as it came', async () => {
    const engine = await testEngine();
    const image = await buildImage({ ...engine, signal: AbortSignal.timeout(60_000) });
    expect(image).toBe('inference-server/copy:1');

    const input = {
      'a/b/run.sh': '#!/bin/sh\n',
      'leer ✓/': '',
      'ünïcode 名前.txt': 'text',
      empty: '',
      '.hidden': 'seen all the same',
    };
    const { exitCode, log, output } = await runImage(engine, { image, input });
    expect({ exitCode, log }).toEqual({ exitCode: 0, log: 'copied 4 files\n' });
    expect([...output.keys()].toSorted()).toEqual(
      ['a/', 'a/b/', 'leer ✓/', ...Object.keys(input)]
        .filter((name, at, all) => all.indexOf(name) === at)
        .toSorted(),
    );
    for (const [name, content] of Object.entries(input)) {
      expect(output.get(name)?.content.toString()).toBe(content);
    }
    expect(output.get('a/b/run.sh')?.mode).toBe(0o755);
  });
});
