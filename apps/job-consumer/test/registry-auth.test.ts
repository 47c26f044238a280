import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Policy } from '@inference-server/contracts';
import { ConfigError } from '@inference-server/service-kit';
import { testFolder } from '@inference-server/testing';
import { readRegistryAuth } from '../src/registry-auth.js';

const policy = { images: [{ name: '**' }] };

async function fileOf(content: unknown, mode = 0o600): Promise<string> {
  const path = join(await testFolder(), 'config.json');
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  await chmod(path, mode);
  return path;
}

it('has the credentials of an image’s registry, however docker keeps them', async () => {
  const auths = {
    'r.example:5000': { auth: btoa('user:pass:word') },
    'https://index.docker.io/v1/': { username: 'hub', password: 'secret' },
    'token.example': { auth: '', identitytoken: 'a-token' },
  };
  const credentialsOf = readRegistryAuth(await fileOf({ auths, credsStore: 'none' }), policy);
  expect(credentialsOf('r.example:5000/a/b:1')).toEqual({
    ...{ serveraddress: 'r.example:5000', username: 'user', password: 'pass:word' },
  });
  const hub = { serveraddress: 'https://index.docker.io/v1/', username: 'hub', password: 'secret' };
  expect(credentialsOf('busybox')).toEqual(hub);
  expect(credentialsOf('docker.io/lab/copy:1')).toEqual(hub);
  expect(credentialsOf('token.example/a')).toMatchObject({ identitytoken: 'a-token' });
  expect(credentialsOf('r.example/a/b:1')).toBeUndefined();
  expect(readRegistryAuth(undefined, {})('r.example:5000/a')).toBeUndefined();
});

const plain = { auths: {} };
it.each<[string, unknown, number, RegExp]>([
  ['others can read', plain, 0o644, /chmod 600/],
  ['its group can change', plain, 0o660, /chmod 600/],
  ['is no JSON', '{ "auths": { "canary', 0o600, /no JSON/],
  ['has another form', { auths: { 'r.example': 'canary' } }, 0o600, /config\.json/],
  ['leaves the login to a helper', { credsStore: 'x' }, 0o600, /config\.json/],
  ['has no login', { auths: { 'r.example': { auth: btoa('canary') } } }, 0o600, /r\.example/],
])('refuses a file that %s, and does not quote it', async (_what, content, mode, says) => {
  const path = await fileOf(content, mode);
  const refusal: unknown = await fileRefusal(path);
  expect(refusal).toBeInstanceOf(ConfigError);
  expect(String(refusal)).toMatch(says);
  expect(String(refusal)).toContain('REGISTRY_AUTH_FILE');
  expect(String(refusal)).not.toContain('canary');
});

it('refuses a file that is not there', async () => {
  expect(String(await fileRefusal('/absent/config.json'))).toContain('ENOENT');
});

it('lends a login to nobody where no policy says which images may be run', async () => {
  const path = await fileOf({ auths: { 'r.example': { auth: btoa('user:canary') } } });
  for (const under of [{}, { require_digest: true }]) {
    const refusal: unknown = await fileRefusal(path, under);
    expect(refusal).toBeInstanceOf(ConfigError);
    expect(String(refusal)).toContain('POLICY_FILE must have images');
  }
  expect(readRegistryAuth(path, { images: [] })('r.example/a')).toMatchObject({ username: 'user' });
});

async function fileRefusal(path: string, under: Policy = policy): Promise<unknown> {
  try {
    return readRegistryAuth(path, under);
  } catch (error) {
    return error;
  }
}
