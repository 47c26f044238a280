import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import type { CreatedKey } from '@inference-server/contracts';
import { freePort, testFolder, waitUntil } from '@inference-server/testing';
import { buildImage as buildCopy } from '../examples/copy/build-image.mjs';
import { buildImage as buildIris } from '../examples/iris/build-image.mjs';
import { contract, modelZip } from '../examples/iris/demo.mjs';
import { runServer, type RunningServer } from './running-server.js';

const run = promisify(execFile);

let server: RunningServer;
let readme: string;
/** Programs in Python, each with what the README says that it prints. */
const snippets: { snippet: string; printed: string }[] = [];
/** What the clients of the doors are told: where the server is, and a key. */
let surroundings: { cwd: string; env: Record<string, string>; timeout: number };

beforeAll(async () => {
  readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const all = readme.matchAll(/```python\n([\s\S]*?)```\s+prints\s+```\n([\s\S]*?)```/g);
  for (const [, snippet = '', printed = ''] of all) snippets.push({ snippet, printed });
  server = await runServer();
  const signal = AbortSignal.timeout(60_000);
  const { dockerHost } = server.engine;
  await buildCopy({ dockerHost, signal });
  await server.startPrivateApi();
  const zerorpcPort = await freePort();
  await server.startGateway({ ZERORPC_PORT: String(zerorpcPort) });
  await server.startPublicApi();
  await server.startConsumer('cpu', { SWEEP_INTERVAL_S: '1' });
  await server.client.postModel({
    ...{ human_readable_id: 'iris', container_tag: await buildIris({ dockerHost, signal }) },
    ...{ kind: 'runtime', contract, zip: modelZip() },
  });
  surroundings = {
    cwd: inject('repository'),
    env: {
      API_KEY: await keyOf('submit'),
      API_URL: server.publicApiUrl,
      GRPC_ADDRESS: server.grpcAddress,
      ZERORPC_ADDRESS: `tcp://127.0.0.1:${zerorpcPort}`,
      PYTHONDONTWRITEBYTECODE: '1',
    },
    timeout: 60_000,
  };
}, 120_000);

async function keyOf(role: string): Promise<string> {
  const answer = await fetch(`${server.privateApiUrl}/api/admin/keys/`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: role, role }),
  });
  return ((await answer.json()) as CreatedKey).key;
}

async function outputOf(program: string): Promise<string> {
  const { stdout } = await run(
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
}, 120_000);

describe('the clients of the doors', () => {
  const printed: Record<string, string> = { stream: 'setosa\nvirginica\n', invoke: '["setosa"]\n' };
  const printedBy = (client: string) => printed[client] ?? 'setosa\n';
  const folder = new URL('../examples/doors/', import.meta.url);

  it('stand in the README as they are', async () => {
    const files = [...(await readdir(folder)), ...(await readdir(new URL('src', folder)))];
    const clients = files.filter((file) => /\.(py|ts)$/.test(file));
    expect(clients).toHaveLength(12);
    for (const client of clients) {
      const path = client.endsWith('.ts') ? `src/${client}` : client;
      expect(readme).toContain(`\n${await readFile(new URL(path, folder), 'utf8')}\`\`\``);
    }
  });

  it.each(['predict', 'stream', 'invoke', 'open-inference', 'open-inference-grpc', 'zerorpc'])(
    'print the species in TypeScript: %s',
    async (client) => {
      const program = `examples/doors/dist/${client}.js`;
      const { stdout } = await run(process.execPath, [program], surroundings);
      expect(stdout).toBe(printedBy(client));
    },
  );

  it("print the same in Python, on definitions that the README's commands compile", async () => {
    const protos = await testFolder();
    const commands = /^mkdir -p \/tmp\/protos[\s\S]*?(?=^export)/m.exec(readme)?.[0] ?? '';
    await run('sh', ['-ec', commands.replaceAll('/tmp/protos', protos)], { cwd: surroundings.cwd });
    // What stands in place of the package `zerorpc` is in warm/.
    const PYTHONPATH = `${protos}:${surroundings.cwd}/tests/warm`;
    const env = { ...surroundings.env, PYTHONPATH };
    for (const client of (await readdir(folder)).filter((file) => file.endsWith('.py'))) {
      const program = new URL(client, folder).pathname;
      const { stdout } = await run('/usr/bin/python3', [program], { ...surroundings, env });
      expect(stdout, client).toBe(printedBy(client.replace('.py', '')));
    }
  });
});

it('leaves nothing in the engine when the model has gone', async () => {
  await server.client.deleteModel('iris');
  const isGone = async () => (await server.inEngine()).length === 0;
  expect(await waitUntil(isGone, { timeoutMs: 60_000 })).toBe(true);
}, 120_000);
