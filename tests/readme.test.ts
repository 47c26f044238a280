import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { beforeAll, expect, it } from 'vitest';
import { testFolder, waitUntil } from '@inference-server/testing';
import { buildImage as buildCopy } from '../examples/copy/build-image.mjs';
import { buildImage as buildIris } from '../examples/iris/build-image.mjs';
import { contract, modelZip } from '../examples/iris/demo.mjs';
import { runServer, type RunningServer } from './running-server.js';

let server: RunningServer;
const snippets: { snippet: string; printed: string }[] = [];

beforeAll(async () => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const all = readme.matchAll(/```python\n([\s\S]*?)```\s+prints\s+```\n([\s\S]*?)```/g);
  for (const [, snippet = '', printed = ''] of all) snippets.push({ snippet, printed });
  server = await runServer();
  const signal = AbortSignal.timeout(60_000);
  const { dockerHost } = server.engine;
  await buildCopy({ dockerHost, signal });
  await server.startPrivateApi();
  await server.startGateway();
  await server.startPublicApi();
  await server.startConsumer('cpu', { SWEEP_INTERVAL_S: '1' });
  await server.client.postModel({
    ...{ human_readable_id: 'iris', container_tag: await buildIris({ dockerHost, signal }) },
    ...{ kind: 'runtime', contract, zip: modelZip() },
  });
}, 120_000);

async function outputOf(program: string): Promise<string> {
  const { stdout } = await promisify(execFile)(
    '/usr/bin/python3',
    ['-c', program.replace('http://127.0.0.1:8000', server.publicApiUrl)],
    { cwd: await testFolder(), timeout: 60_000 },
  );
  return stdout;
}

it("the README's Python snippet of a task prints what the README says", async () => {
  expect(snippets[0]?.snippet).toContain('http://127.0.0.1:8000');
  expect(await outputOf(snippets[0]?.snippet ?? '')).toBe(snippets[0]?.printed);
}, 120_000);

it('and that of a call, which goes on after it', async () => {
  const head = 'import requests\nserver = "http://127.0.0.1:8000"\n';
  expect(await outputOf(`${head}${snippets[1]?.snippet}`)).toBe(snippets[1]?.printed);
  await server.client.deleteModel('iris');
  const isGone = async () => (await server.inEngine()).length === 0;
  expect(await waitUntil(isGone, { timeoutMs: 60_000 })).toBe(true);
}, 120_000);
