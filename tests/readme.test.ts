import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { buildImage } from '../examples/copy/build-image.mjs';
import { runServer } from './running-server.js';

it("the README's Python snippet prints what the README says", async () => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const [, snippet = '', printed = ''] =
    /```python\n([\s\S]*?)```\s+prints\s+```\n([\s\S]*?)```/.exec(readme) ?? [];
  expect(snippet).toContain('http://127.0.0.1:8000');

  const server = await runServer();
  const signal = AbortSignal.timeout(60_000);
  await buildImage({ dockerHost: server.engine.dockerHost, signal });
  await server.startPrivateApi();
  await server.startPublicApi();
  await server.startConsumer();
  const program = snippet.replace('http://127.0.0.1:8000', server.publicApiUrl);
  const { stdout } = await promisify(execFile)('/usr/bin/python3', ['-c', program], {
    cwd: await testFolder(),
    timeout: 60_000,
  });
  expect(stdout).toBe(printed);
}, 120_000);
