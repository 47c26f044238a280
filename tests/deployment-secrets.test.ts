import { execFile, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import {
  consumerToken,
  newOperatorToken,
  publicApiToken,
  relayToken,
  rpcGatewayToken,
  weaknessOf,
} from '@inference-server/service-kit';
import { freePort, testFolder, waitUntil, whenFileEnds } from '@inference-server/testing';
import { readCompose, readText, repository } from './deployment-files.js';

const run = promisify(execFile);
const script = join(repository, 'secrets/generate_secrets');
const { services, secrets } = readCompose();
const names = [
  'bootstrap_password',
  'consumer_token_cpu',
  'consumer_token_gpu',
  'postgres_password',
  'private_api_token',
  'public_api_token',
  'redis_password',
  'relay_token',
  'rpc_gateway_token',
];

describe('the secrets of docker-compose.yaml', () => {
  it('are files, in a folder that neither git nor an image takes', () => {
    expect(Object.keys(secrets).toSorted()).toEqual(names);
    for (const name of names) {
      expect(secrets[name]).toEqual({ file: `./secrets/${name}` });
    }
    expect(readText('secrets/.gitignore')).toBe('*\n!.gitignore\n!generate_secrets\n');
    expect(readText('.dockerignore').split('\n')).toContain('secrets');
  });

  it('reach the services that need them, by file, and no environment or command', () => {
    const text = readText('docker-compose.yaml');
    // But for the limits of what comes by one key or from one address.
    expect(text).not.toMatch(/\$\{(?!MAX_\w+_PER_(?:KEY|ADDRESS):)\w*(TOKEN|PASSWORD|SECRET|KEY)/);
    for (const [
      name,
      { environment = {}, command = [], healthcheck, secrets: given = [] },
    ] of Object.entries(services)) {
      for (const [setting, value] of Object.entries(environment)) {
        expect([value].join(), `${setting} of ${name}`).not.toMatch(/:\/\/[^/]*:[^/]*@/);
        if (/(TOKEN|PASSWORD)$/.test(setting)) throw new Error(`${name} has ${setting}`);
      }
      const told = [...Object.values(environment), ...command, ...(healthcheck?.test ?? [])];
      const used = told.join(' ').matchAll(/\/run\/secrets\/(\w+)/g);
      expect([...new Set([...used].map(([, secret]) => secret))].toSorted(), name).toEqual(
        given.toSorted(),
      );
    }
    const holders = (secret: string) =>
      Object.keys(services).filter((name) => services[name]?.secrets?.includes(secret));
    // Each service its own: nobody but private-api has that of which all are derived.
    expect(holders('private_api_token')).toEqual(['private-api']);
    expect(holders('public_api_token')).toEqual(['public-api']);
    expect(holders('rpc_gateway_token')).toEqual(['rpc-gateway']);
    expect(holders('relay_token')).toEqual(['public-api', 'rpc-gateway']);
    expect(holders('consumer_token_cpu')).toEqual(['job-consumer']);
    expect(holders('consumer_token_gpu')).toEqual(['job-consumer-gpu']);
    expect(services['traefik']?.secrets).toBeUndefined();
  });

  it('are made by the script: strong, each its own, in a folder for its owner alone', async () => {
    const folder = await testFolder();
    await run(script, [folder]);
    expect((await readdir(folder)).toSorted()).toEqual(names);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    const read = () => Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
    const made = await read();
    expect(new Set(made).size).toBe(names.length);
    for (const secret of made) expect(weaknessOf(secret.trimEnd())).toBeUndefined();
    // The user of a service in a container reads the file itself.
    for (const name of names) expect((await stat(join(folder, name))).mode & 0o777).toBe(0o644);

    const { stdout } = await run(script, [folder]);
    for (const secret of made) expect(stdout).not.toContain(secret.trimEnd());
    expect(await read()).toEqual(made);
    await writeFile(join(folder, 'redis_password'), '');
    await run(script, [folder]);
    const renewed = await read();
    const at = names.indexOf('redis_password');
    expect(renewed.toSpliced(at, 1)).toEqual(made.toSpliced(at, 1));
    expect(renewed[at]).toMatch(/^[0-9a-f]{64}\n$/);
  });

  it('of the services are derived from private-api’s, which knows them by it, and follow it', async () => {
    const folder = await testFolder();
    const read = async (name: string) => (await readFile(join(folder, name), 'utf8')).trimEnd();
    const derived = async () => {
      const operator = await read('private_api_token');
      expect(await read('public_api_token')).toBe(publicApiToken(operator));
      expect(await read('rpc_gateway_token')).toBe(rpcGatewayToken(operator));
      expect(await read('relay_token')).toBe(relayToken(operator));
      for (const name of ['cpu', 'gpu', 'ward-7.gpu']) {
        expect(await read(`consumer_token_${name}`)).toBe(consumerToken(operator, name));
      }
    };
    await run(script, [folder, 'ward-7.gpu']);
    await derived();
    // Also shorter than a block of the hash, and as long as one.
    for (const operator of [newOperatorToken(), 'x'.repeat(64)]) {
      await writeFile(join(folder, 'private_api_token'), operator);
      await run(script, [folder, 'ward-7.gpu']);
      await derived();
    }
    await writeFile(join(folder, 'private_api_token'), 'x'.repeat(66));
    await expect(run(script, [folder])).rejects.toMatchObject({ code: 2 });
  });

  it('are told by the script’s usage where they cannot be made', async () => {
    const folder = await testFolder();
    for (const name of ['../up', 'a b', '-', 'a'.repeat(59)]) {
      await expect(run(script, [folder, name])).rejects.toMatchObject({ code: 2 });
    }
    expect(await readdir(folder)).toEqual([]);
    await expect(run(script, ['/nowhere'])).rejects.toMatchObject({ code: 2 });
  });
});

it('what stands in a document is refused as a secret', () => {
  const pages = readdirSync(join(repository, 'docs')).filter((name) => name.endsWith('.md'));
  const texts = ['README.md', '.env.example', ...pages.map((name) => `docs/${name}`)].map(readText);
  const setting = /\b[A-Z_]*(?:TOKEN|PASSWORD|SECRET)[=:] *["']?([^\s"'`<$]+)/g;
  const examples = texts.flatMap((text) => [...text.matchAll(setting)].map(([, value]) => value));
  expect(examples).toContain('changeme');
  for (const example of examples) expect(weaknessOf(example ?? ''), example).toBeDefined();
});

it('Redis gets its password by a file: no process shows it, and nobody else gets in', async () => {
  const folder = await testFolder();
  await run(script, [folder]);
  const password = (await readFile(join(folder, 'redis_password'), 'utf8')).trimEnd();
  // What the image has and this machine has not.
  const bin = join(folder, 'bin');
  await mkdir(bin);
  await writeFile(join(bin, 'docker-entrypoint.sh'), '#!/bin/sh\nexec "$@"\n');
  await writeFile(join(bin, 'chown'), '#!/bin/sh\n');
  for (const name of await readdir(bin)) await chmod(join(bin, name), 0o755);

  const port = String(await freePort());
  const [command = '', ...args] = services['redis']?.command ?? [];
  const here = args.map((arg) =>
    arg
      .replaceAll('$$', '$')
      .replaceAll('/run/secrets', folder)
      .replaceAll('/dev/shm', folder)
      .replace('--appendonly', `--bind 127.0.0.1 --port ${port} --dir ${folder} --appendonly`),
  );
  const env = { PATH: `${bin}:${process.env['PATH'] ?? ''}` };
  const child = spawn(command, here, { env, stdio: 'ignore' });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  whenFileEnds('redis of the compose file', async () => {
    child.kill();
    await ended;
  });
  const ask = async (auth: Record<string, string>) =>
    (await run('redis-cli', ['-p', port, 'ping'], { env: { ...env, ...auth } })).stdout;
  const answers = async () => (await ask({ REDISCLI_AUTH: password }).catch(() => '')) === 'PONG\n';
  expect(await waitUntil(answers, { timeoutMs: 10_000 })).toBe(true);
  expect(await ask({})).toMatch(/^NOAUTH/);
  expect((await stat(join(folder, 'redis.conf'))).mode & 0o777).toBe(0o600);

  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  expect(lines.some((line) => line.includes('redis-server'))).toBe(true);
  expect(lines.filter((line) => line.includes(password))).toEqual([]);
});
