import { Agent } from 'undici';
import { expect, test } from 'vitest';
import {
  createCallerDirectory,
  createLogger,
  createRefusalTally,
} from '@inference-server/service-kit';
import { createCallers } from '../src/doors/callers.js';
import { createZeroRpcAccess } from '../src/doors/zerorpc/access.js';
import { keyOf, modelOf, startPrivateApi, tokens } from './private-api.js';
import { deferred, readyAt, soon, startReplica } from './scene.js';
import { contract, errorOf, exposed, okOf, startDoor } from './zerorpc-scene.js';

const data = { text: 'a', ids: [1] };
const key = keyOf('a');
const text = expect.any(String) as unknown;
const unknown = errorOf('AuthenticationError', 'The credentials are not known.');
const missing = errorOf('AuthenticationError', 'Credentials are missing.');
const guarded = { anonymousRole: 'none' } as const;

test('a key comes in the header of each call, or once on a connection', async () => {
  const { api, client } = await startDoor(guarded);
  api.callers.set(key, {});
  for (const token of [key, { $bin: Buffer.from(key).toString('hex') }]) {
    expect(await client(0, { token })('rose_predict', data)).toEqual(okOf(data));
  }
  const ask = client(1);
  expect(await ask('rose_predict', data)).toEqual(missing);
  expect(await ask('authenticate', key)).toEqual(okOf(true));
  expect(await ask('rose_predict', data)).toEqual(okOf(data));
  expect((await ask('get_models')).name).toBe('OK');
  expect(await client(2)('rose_predict', data)).toEqual(missing);
  expect(await client(1, { token: keyOf('w') })('rose_predict', data)).toEqual(unknown);
  expect(await client(1, { token: null })('rose_predict', data)).toEqual(okOf(data));
});

test('without a key nothing is told but how to show one', async () => {
  const { api, client } = await startDoor(guarded);
  api.callers.set(key, {});
  const ask = client(0);
  const parameters = [{ name: 'token' }];
  const doc = 'Show a token for the calls that follow on this connection.';
  expect(await ask('_zerorpc_inspect')).toEqual(
    okOf({ name: 'ModelZeroRPCService', methods: { authenticate: { args: parameters, doc } } }),
  );
  expect(await ask('_zerorpc_name')).toEqual(okOf('ModelZeroRPCService'));
  for (const method of ['get_models', 'rose_predict', 'no_such_method', 'no_such_predict']) {
    expect(await ask(method), method).toEqual(missing);
  }
  await ask('authenticate', key);
  const names = ['get_models', 'get_model_metadata', 'authenticate'];
  expect(await ask('_zerorpc_list')).toEqual(okOf([...names, 'iris_v1_2_predict', 'rose_predict']));
});

test.each([['secret'], [keyOf('w')], [7], [null], [''], [{ $bin: 'ff' }], [`${key} `]])(
  '%j opens nothing, and ends what was shown before',
  async (token) => {
    const { api, client } = await startDoor(guarded);
    api.callers.set(key, {});
    const ask = client(0);
    expect(await ask('authenticate', key)).toEqual(okOf(true));
    expect(await ask('authenticate', token)).toEqual(unknown);
    expect(await ask('rose_predict', data)).toEqual(missing);
    if (token !== null) expect(await client(1, { token })('rose_predict', data)).toEqual(unknown);
  },
);

test('a token for one model sees that one alone, and what it may not is noted', async () => {
  const { api, client } = await startDoor(guarded);
  api.callers.set(key, { human_readable_id: 'rose' });
  const ask = client(0, { token: key });
  expect(await ask('rose_predict', data)).toEqual(okOf(data));
  const [models] = (await ask('get_models')).args as [{ qualified_name: string }[]];
  expect(models.map(({ qualified_name: name }) => name)).toEqual(['rose']);
  expect(((await ask('_zerorpc_list')).args as [string[]])[0]).not.toContain('iris_v1_2_predict');
  expect(await ask('get_model_metadata', 'iris_v1_2')).toEqual(errorOf('ValueError', text));
  const refused = errorOf('PermissionError', 'The token is for one model, and for nothing else.');
  for (const method of ['iris_v1_2_predict', 'no_such_model_predict']) {
    expect(await ask(method, data), method).toEqual(refused);
    expect(await ask('_zerorpc_help', method), method).toEqual(refused);
  }
});

test('a key that is revoked ends the calls that are under way, and the connection knows nobody', async () => {
  const { api, client } = await startDoor(guarded);
  api.callers.set(key, {});
  const begun = deferred();
  const gone = deferred();
  const replica = await startReplica((call) => {
    begun.resolve();
    call.on('cancelled', () => gone.resolve());
  });
  const slow = modelOf(12, { human_readable_id: 'slow', contract });
  api.tell({ models: [slow], replicas: readyAt(slow, replica.address) });
  const [byConnection, byHeader] = [client(0), client(1, { token: key })];
  await byConnection('authenticate', key);
  const pending = [byConnection('slow_predict', data), byHeader('slow_predict', data)];
  await begun.promise;
  api.callers.delete(key);
  for (const one of pending) {
    expect(await one).toEqual(
      errorOf('AuthenticationError', 'The credentials are not good any more, or for less.'),
    );
  }
  await gone.promise;
  expect(await byConnection('get_models')).toEqual(unknown);
  expect(await byConnection('get_models')).toEqual(missing);
});

test('a role for less is refused', async () => {
  const { api, client } = await startDoor(guarded);
  api.callers.set(key, { role: 'none' as never });
  expect(await client(0, { token: key })('get_models')).toEqual(
    errorOf('PermissionError', 'This needs the role submit.'),
  );
});

test('a client behind a proxy of ZeroMQ shows its token with each call', async () => {
  const { api, client, peers } = await startDoor(guarded);
  api.callers.set(key, {});
  for (const client of [5, 6]) peers.command({ do: 'open', client, proxied: true });
  expect(await client(5)('authenticate', key)).toEqual(
    errorOf('PermissionError', expect.stringContaining('in the header "token"')),
  );
  expect(await client(5)('rose_predict', data)).toEqual(missing);
  expect(await client(5, { token: key })('rose_predict', data)).toEqual(okOf(data));
  expect(await client(6)('rose_predict', data)).toEqual(missing);
});

test('nobody is let in without a key where other machines reach the door', async () => {
  const { api, client } = await startDoor({ anonymousRole: 'submit', zerorpc: exposed });
  expect(await client(0)('rose_predict', data)).toEqual(errorOf('PermissionError', text));
  expect(await client(0)('_zerorpc_list')).toEqual(okOf(['authenticate']));
  api.callers.set(key, {});
  expect(await client(0, { token: key })('rose_predict', data)).toEqual(okOf(data));
});

test('a door that others reach opens with the first key that was made', async () => {
  const { api, client } = await startDoor({ zerorpc: exposed });
  api.hasKeys = false;
  api.callers.set(key, {});
  expect(await client(0, { token: key })('get_models')).toEqual(errorOf('PermissionError', text));
  expect(await client(0)('authenticate', key)).toEqual(errorOf('PermissionError', text));
});

test('guesses make their address wait, whatever their connections; what opens elsewhere opens', async () => {
  const api = await startPrivateApi();
  api.callers.set(key, {});
  const upstream = new Agent();
  const directory = createCallerDirectory({
    privateApiUrl: api.url,
    privateApiToken: tokens.gateway,
    upstream,
  });
  const refusals = createRefusalTally({
    ...{ tell: async () => undefined, logger: createLogger('rpc-gateway', 'silent') },
  });
  const callers = createCallers({
    ...{ directory, refusals, anonymousRole: 'none', isExposed: true },
    ...{ trustedProxies: ['loopback'], refusalsPerAddress: 3 },
  });
  const access = createZeroRpcAccess({ callers, anonymousRole: 'none', isExposed: true });
  let count = 0;
  const show = (token: string, address = '192.0.2.7') => {
    count += 1;
    const connection = { id: String(count), address, isTrusted: false };
    return access.authenticate(token, { connection, isRelayed: false, headers: new Map() });
  };
  for (const letter of ['b', 'c', 'd']) {
    await expect(show(keyOf(letter))).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  }
  await expect(show(keyOf('e'))).rejects.toMatchObject({ code: 'TOO_MANY_REQUESTS' });
  await expect(show(key)).rejects.toMatchObject({ code: 'TOO_MANY_REQUESTS' });
  await show(key, '192.0.2.8');
  // What has opened of late is looked at.
  await show(key);
  callers.close();
  await refusals.close();
  await upstream.close();
});

test('while nobody can say whose a key is, it opens nothing', async () => {
  const { api, client } = await startDoor(guarded);
  api.callers.set(key, {});
  const ask = client(0);
  await ask('authenticate', key);
  api.goAway();
  await expect
    .poll(() => ask('rose_predict', data), soon)
    .toEqual(errorOf('ServiceUnavailable', text));
  api.comeBack();
  await expect.poll(() => ask('rose_predict', data), soon).toEqual(okOf(data));
});

test('refusals are noted for the audit', async () => {
  const { api, client, close } = await startDoor({ anonymousRole: 'none', zerorpc: exposed });
  api.callers.set(key, { human_readable_id: 'rose' });
  await client(0)('get_models');
  await client(0, { token: key })('iris_v1_2_predict', data);
  await close();
  const strangers = { owner: 'unknown', code: 'UNAUTHORIZED', address: '127.0.0.1', times: 1 };
  expect(api.refusals).toMatchObject([{ owner: 'key:a', code: 'FORBIDDEN' }, strangers]);
  expect(api.refusals.every((one) => one.operation_id === 'zerorpc')).toBe(true);
});
