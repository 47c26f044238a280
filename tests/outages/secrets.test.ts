import { readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import AdmZip from 'adm-zip';
import { beforeAll, expect, it } from 'vitest';
import type { CreatedKey, IssuedToken } from '@inference-server/contracts';
import { createClient } from '@inference-server/sdk';
import { consumerToken, newOperatorToken, publicApiToken } from '@inference-server/service-kit';
import {
  freePort,
  testEngine,
  testFolder,
  waitUntil,
  whenFileEnds,
} from '@inference-server/testing';
import { recordedPids, startServer, type Server } from '../../apps/standalone/test/server.js';
import { makeScriptImage } from '../running-server.js';

const token = newOperatorToken();
const password = newOperatorToken();
const registryPassword = newOperatorToken();
/** As it goes to the registry. */
const registryLogin = Buffer.from(`somebody:${registryPassword}`).toString('base64');
/** By what it is. Each is looked for, as it is and as it would stand in base64. */
let canaries: Record<string, string>;
let server: Server;
let dataDir: string;
/** What a model saw of itself. */
let seenByModel: string;

beforeAll(async () => {
  const engine = await testEngine();
  await makeScriptImage(engine.api, engine.image, 'inference-server-test/canaries:1');
  dataDir = await testFolder();
  const folder = await testFolder();
  const tokenFile = join(folder, 'token');
  await writeFile(tokenFile, `${token}\n`);
  const registry = await startRegistry();
  const registries = join(folder, 'registries.json');
  const auths = { [registry.address]: { auth: registryLogin } };
  await writeFile(registries, JSON.stringify({ auths }), { mode: 0o600 });
  const policy = join(folder, 'policy.json');
  const images = [{ registry: registry.address }, { name: 'inference-server-test/*' }];
  await writeFile(policy, JSON.stringify({ images }));
  server = await startServer({
    DATA_DIR: dataDir,
    DOCKER_HOST: engine.dockerHost,
    PRIVATE_API_TOKEN_FILE: tokenFile,
    POLICY_FILE: policy,
    REGISTRY_AUTH_FILE: registries,
    ALLOW_PUBLIC_POST_MODEL: '1',
    LOG_LEVEL: 'trace',
  });
  await server.untilSays('InferenceServer is up');
  const redis = await readFile(join(dataDir, 'redis', 'redis.conf'), 'utf8');
  const mac = (whole: string) => whole.split('.').at(-1) ?? '';
  const key = await makeKey();
  const accessToken = await logIn();
  const firstKey = await readFile(join(dataDir, 'admin.key'), 'utf8');
  canaries = {
    'the operator’s token': token,
    'the token of public-api': mac(publicApiToken(token)),
    'the token of the consumer': mac(consumerToken(token, 'local-cpu')),
    'the password of Redis': /^requirepass (\S+)$/m.exec(redis)?.[1] ?? '',
    'the password of PostgreSQL': await readFile(join(dataDir, 'postgres.password'), 'utf8'),
    'the first admin key': secretOf(firstKey.trim()),
    'a key': secretOf(key),
    'the token of a person': mac(accessToken),
    'the password of a person': password,
    'the password for a registry': registryPassword,
    'the login to a registry': registryLogin,
  };
  seenByModel = await runModel(key, accessToken);
  await pullInVain(key, registry);
  await failOnPurpose([key, accessToken]);
}, 120_000);

it('keeps secrets out of every process list', async () => {
  for (const secret of Object.values(canaries)) expect(secret.length).toBeGreaterThanOrEqual(32);
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const commands = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  for (const known of [dataDir, 'redis-server', 'private-api']) {
    expect(commands.filter((command) => command.includes(known)).length, known).toBeGreaterThan(0);
  }
  expectNone(commands.join('\n'), 'arguments of processes');
});

it('hands on no file of a secret, and the password of the database to private-api alone', async () => {
  const pids = recordedPids(dataDir);
  const password = canaries['the password of PostgreSQL'] ?? '';
  for (const name of ['private-api', 'public-api', 'job-consumer']) {
    const environment = await readFile(`/proc/${pids[name]}/environ`, 'utf8');
    expect(environment, name).toContain('PATH=');
    expect(environment, name).not.toContain('PRIVATE_API_TOKEN_FILE');
    expect(environment.includes(password), name).toBe(name === 'private-api');
  }
});

it('gives each process a token of its own', async () => {
  const pids = recordedPids(dataDir);
  const operator = canaries['the operator’s token'] ?? '';
  const counts = { 'private-api': 1, 'public-api': 2, 'rpc-gateway': 2, 'job-consumer': 1 };
  for (const [name, count] of Object.entries(counts)) {
    const environment = await readFile(`/proc/${pids[name]}/environ`, 'utf8');
    const tokens = environment.split('\0').filter((line) => /^\w*TOKEN=/.test(line));
    expect(tokens.length, name).toBe(count);
    expect(environment.includes(operator), name).toBe(name === 'private-api');
  }
});

it('keeps secrets out of the environment and the files of a model’s container', () => {
  expect(seenByModel).toMatch(/^PATH=/m);
  expect(seenByModel).toContain('run.sh');
  expect(seenByModel).not.toMatch(/TOKEN|PASSWORD|REDIS|DATABASE/);
  expectNone(seenByModel, 'a container');
});

it('keeps secrets out of logs, the terminal, records and what is said of failures', async () => {
  const files = (await Promise.all(['logs', 'run'].map((folder) => textsIn(folder)))).flat();
  expect(files.map(({ path }) => path).join()).toMatch(/private-api\.log[^]*redis\.json/);
  for (const { path, text } of files) expectNone(text, path);
  expectNone(server.output(), 'the terminal');
});

it('keeps secrets out of the pages and documents of both APIs', async () => {
  for (const base of [server.publicApi, server.privateApi]) {
    for (const path of ['/', '/docs', '/docs/static/swagger-initializer.js', '/openapi.json']) {
      expectNone(await (await fetch(base + path)).text(), path);
    }
    expectNone(await (await fetch(`${base}/readyz`)).text(), 'readyz');
  }
});

/** Of a key, behind its id. */
function secretOf(key: string): string {
  return /^isk_[a-z2-7]{16}_([A-Za-z0-9_-]{43})$/.exec(key)?.[1] ?? expect.fail('no key');
}

async function makeKey(): Promise<string> {
  const key = { name: 'canary', role: 'publish' };
  return ((await send('POST', '/api/admin/keys/', key)) as CreatedKey).key;
}

async function logIn(): Promise<string> {
  await send('PUT', '/api/admin/users/canary', { password, role: 'submit' });
  const login = { user_name: 'canary', password };
  return ((await send('POST', '/api/tokens/', login, server.publicApi)) as IssuedToken).token;
}

async function send(method: string, path: string, body: object, base = server.privateApi) {
  const authorization = base === server.privateApi ? { authorization: `Bearer ${token}` } : {};
  const headers = { 'content-type': 'application/json', ...authorization };
  const answer = await fetch(base + path, { method, headers, body: JSON.stringify(body) });
  expect(answer.status).toBe(200);
  return answer.json();
}

/** A registry that has nothing, and says so to whoever shows a login. */
async function startRegistry() {
  const shown = new Set<string | undefined>();
  const registry = createServer(({ headers: { authorization } }, response) => {
    shown.add(authorization);
    const headers = { 'content-type': 'application/json', 'www-authenticate': 'Basic realm="x"' };
    response.writeHead(authorization === undefined ? 401 : 404, headers);
    response.end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown","detail":{}}]}');
  });
  await new Promise<void>((resolve) => registry.listen(0, '127.0.0.1', resolve));
  whenFileEnds('registry', async () => {
    registry.closeAllConnections();
    await new Promise((resolve) => registry.close(resolve));
  });
  return { address: `127.0.0.1:${(registry.address() as AddressInfo).port}`, shown };
}

/** A task whose image is pulled with the login, which is then in vain. */
async function pullInVain(
  key: string,
  { address, shown }: Awaited<ReturnType<typeof startRegistry>>,
): Promise<void> {
  const caller = createClient({ baseUrl: server.publicApi, token: key });
  await caller.postModel({ human_readable_id: 'absent', container_tag: `${address}/absent:1` });
  const zip = new AdmZip();
  zip.addFile('a', Buffer.from('b'));
  const uid = await caller.postTask({ human_readable_id: 'absent', zip: zip.toBuffer() });
  const wasShown = () => shown.has(`Basic ${registryLogin}`);
  expect(await waitUntil(wasShown, { timeoutMs: 30_000 }), 'the login').toBe(true);
  const answer = await fetch(`${server.publicApi}/api/tasks/${uid}?wait=1`, {
    headers: { authorization: `Bearer ${key}` },
  });
  expectNone(await answer.text(), 'what is told of the task');
}

async function runModel(key: string, accessToken: string): Promise<string> {
  const publisher = createClient({ baseUrl: server.publicApi, token: key });
  const caller = createClient({ baseUrl: server.publicApi, token: accessToken });
  const tag = 'inference-server-test/canaries:1';
  await publisher.postModel({ human_readable_id: 'canaries', container_tag: tag });
  const zip = new AdmZip();
  const script =
    'env >/output/seen; { ps; ls -lR /input /output; cat /proc/*/environ; } >>/output/seen';
  zip.addFile('run.sh', Buffer.from(script));
  const uid = await caller.postTask({ human_readable_id: 'canaries', zip: zip.toBuffer() });
  const { zip: output } = await caller.waitForTask(uid);
  return new AdmZip(await buffer(output)).readAsText('seen').replaceAll('\0', '\n');
}

/** Requests whose refusal could echo what came with them, and a start that fails. */
async function failOnPurpose(others: readonly string[]): Promise<void> {
  const answers: string[] = [];
  for (const base of [server.publicApi, server.privateApi]) {
    for (const secret of [token, ...others]) {
      for (const authorization of [`Bearer ${secret}x`, `Basic ${secret}`, `${secret}: x`]) {
        const headers = { authorization, 'x-token': `${secret}x` };
        answers.push(await (await fetch(`${base}/api/models/`, { headers })).text());
        answers.push(await (await fetch(`${base}/nowhere`, { headers })).text());
      }
    }
    for (const [method, path, body] of [
      ['POST', '/api/tokens/', { user_name: 'nobody', password }],
      ['POST', '/api/tokens/', { user_name: 'canary', password: `${password}x` }],
      ['POST', '/api/tokens/', { user_name: password, password, role: password }],
      ['PUT', '/api/admin/users/canary', { password: [password], role: password }],
      // It has the name in it.
      ['PUT', `/api/admin/users/${password.slice(0, 9)}`, { password, role: 'submit' }],
      ['PUT', `/api/admin/users/${encodeURIComponent(`-${password}`)}`, { password }],
    ] as const) {
      const text = JSON.stringify(body);
      for (const sent of [text, text.slice(0, -1)]) {
        const json = { 'content-type': 'application/json' };
        const headers = { ...json, authorization: `Bearer ${token}` };
        const isLogin = path === '/api/tokens/' && base === server.publicApi;
        const answer = await fetch(base + path, {
          ...{ method, body: sent, headers: isLogin ? json : headers },
        });
        expect(answer.status).not.toBe(200);
        answers.push(await answer.text());
      }
    }
  }
  expectNone(answers.join('\n'), 'answers to wrong credentials');
  const DATA_DIR = await testFolder();
  const address = `postgres://a:${token}@127.0.0.1:${String(await freePort())}/x`;
  for (const settings of [
    { DATABASE_URL: address },
    { DATABASE_URL: address.replace('/x', '#x').replace('@', '/@') },
    { PRIVATE_API_TOKEN: `${token} ` },
    { PRIVATE_API_TOKEN_FILE: token },
    { REDIS_URL: address },
  ]) {
    const failing = await startServer({ DATA_DIR, ...settings });
    expect(await failing.ended, Object.keys(settings).join()).not.toBe(0);
    expect(failing.output()).not.toBe('');
    expectNone(failing.output(), 'a start that fails');
    for (const { path, text } of await textsIn('logs', DATA_DIR)) expectNone(text, path);
  }
}

async function textsIn(folder: string, below = dataDir) {
  const names = await readdir(join(below, folder)).catch((): string[] => []);
  return Promise.all(
    names.map(async (name) => ({
      path: join(folder, name),
      text: await readFile(join(below, folder, name), 'utf8'),
    })),
  );
}

/** By name, so that the report of a failure shows none either. */
function expectNone(text: string, where: string): void {
  const found = Object.entries(canaries)
    .filter(([, secret]) =>
      [secret, Buffer.from(secret).toString('base64')].some((form) => text.includes(form)),
    )
    .map(([name]) => name);
  expect(found, where).toEqual([]);
}
