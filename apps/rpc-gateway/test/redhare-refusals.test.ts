import { status } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { keyOf, modelOf, tokenOf, type PrivateApi } from './private-api.js';
import { authAt, openStream, startStreams, token } from './redhare-scene.js';
import { soon } from './scene.js';

const key = keyOf('a');
const { UNAUTHENTICATED, FAILED_PRECONDITION, NOT_FOUND, PERMISSION_DENIED } = status;

describe('auth', () => {
  const login = { user_name: 'ada', password: 'correct horse' };

  async function startAuth(options: Parameters<typeof startStreams>[0] = {}) {
    const scene = await startStreams(options);
    scene.api.callers.set(key, { owner: 'key:a', credential: 'key:a' });
    scene.api.people.set(login.user_name, login.password);
    return scene;
  }

  test.each([
    ['a key', { token: key }],
    ['a name and a password', login],
  ])('gives a token for a model, and where to use it, to %s', async (_what, shown) => {
    const { api, address } = await startAuth();
    const { url, token: given } = await authAt(address, { model_name: 'echo', ...shown });
    expect(url).toBe(address);
    const isByName = 'user_name' in shown;
    expect(api.issued).toMatchObject([
      {
        ...{ human_readable_id: 'echo', expires_in_s: 43_200 },
        caller: { owner: isByName ? 'anonymous' : 'key:a', role: 'submit', address: '127.0.0.1' },
      },
    ]);
    const { send, stream, answers, ended } = openStream(url, given);
    send('a');
    stream.end();
    expect(await ended).toBe(undefined);
    expect(answers).toEqual(['a']);
  });

  test('gives the same token to a key that asks again, and looks at a password each time', async () => {
    const { api, address } = await startAuth();
    const byKey = { model_name: 'echo', token: key };
    const { token: first } = await authAt(address, byKey);
    expect((await authAt(address, byKey)).token).toBe(first);
    expect(api.issued.length).toBe(1);
    await authAt(address, { model_name: 'echo', ...login });
    await authAt(address, { model_name: 'echo', ...login });
    expect(api.issued.length).toBe(3);
  });

  test('gives a token for the model back, and makes none of it', async () => {
    const { api, address } = await startAuth();
    expect((await authAt(address, { model_name: 'echo', token })).token).toBe(token);
    expect(api.issued).toEqual([]);
  });

  test('gives none for a model that is gone, though it has one', async () => {
    const { api, address } = await startAuth();
    const byKey = { model_name: 'echo', token: key };
    const { token: first } = await authAt(address, byKey);
    api.tell({ models: [] });
    for (const shown of [key, first]) {
      const asked = () =>
        authAt(address, { ...byKey, token: shown }).catch((error: unknown) => error);
      await expect.poll(asked, soon).toMatchObject({ code: NOT_FOUND });
    }
  });

  test.each([
    ['models.example:8500', 'models.example:8500'],
    ['models.example', 'models.example:443'],
    ['[2001:db8::1]:8500', '[2001:db8::1]:8500'],
  ])('called as %s says %s', async (authority, expected) => {
    const { address } = await startAuth();
    const options = { 'grpc.default_authority': authority };
    const { url } = await authAt(address, { model_name: 'echo', token: key }, options);
    expect(url).toBe(expected);
  });

  test('tells the address that it is set to', async () => {
    const options = { grpcPublicAddress: 'models.example:443' };
    const { address } = await startAuth({ options });
    const { url } = await authAt(address, { model_name: 'echo', token: key });
    expect(url).toBe('models.example:443');
  });

  test.each<[string, Record<string, string>, number, ((api: PrivateApi) => void)?]>([
    ['nothing', { model_name: 'echo' }, UNAUTHENTICATED],
    ['a name alone', { model_name: 'echo', user_name: 'ada' }, UNAUTHENTICATED],
    ['a wrong password', { model_name: 'echo', ...login, password: 'x' }, UNAUTHENTICATED],
    ['an unknown key', { model_name: 'echo', token: keyOf('w') }, UNAUTHENTICATED],
    ['what is no key', { model_name: 'echo', token: 'secret' }, UNAUTHENTICATED],
    ['a token for another model', { model_name: 'echo', token: tokenOf(5) }, UNAUTHENTICATED],
    ['a token for any model', { model_name: 'echo', token: tokenOf(6) }, PERMISSION_DENIED],
    ['a key, for an unknown model', { model_name: 'other', token: key }, NOT_FOUND],
    ['a password, for an unknown model', { model_name: 'other', ...login }, NOT_FOUND],
    ['a key, for no model', { token: key }, status.INVALID_ARGUMENT],
    [
      'a key, while private-api is away',
      { model_name: 'echo', token: key },
      status.UNAVAILABLE,
      (api) => api.goAway(),
    ],
  ])('refuses %s', async (_what, attributes, code, before) => {
    // Callers without a key may at other doors.
    const { api, address } = await startAuth({ options: { anonymousRole: 'submit' } });
    api.callers.set(tokenOf(5), { human_readable_id: 'other' });
    api.callers.set(tokenOf(6), {});
    before?.(api);
    await expect(authAt(address, attributes)).rejects.toMatchObject({ code });
  });

  test('lets nobody in before the first key', async () => {
    const { api, address } = await startAuth({ options: { isExposed: true } });
    api.hasKeys = false;
    for (const shown of [{ token: key }, login]) {
      const asked = authAt(address, { model_name: 'echo', ...shown });
      await expect(asked).rejects.toMatchObject({ code: PERMISSION_DENIED });
    }
  });
});

describe('a stream is refused', () => {
  test.each<[string, string | undefined, number, ((api: PrivateApi) => void)?]>([
    ['with an unknown token', tokenOf(9), UNAUTHENTICATED],
    ['with what is no token', 'secret', UNAUTHENTICATED],
    ['with an empty token', ' ', UNAUTHENTICATED],
    [
      'with a token for no one model',
      token,
      UNAUTHENTICATED,
      (api) => void api.callers.set(token, {}),
    ],
    [
      'with a token for a model that there is not',
      token,
      NOT_FOUND,
      (api) => void api.callers.set(token, { human_readable_id: 'other' }),
    ],
  ])('%s, before there is any data', async (_what, shown, code, before) => {
    const { api, address } = await startStreams();
    before?.(api);
    expect(await openStream(address, shown).ended).toMatchObject({ code });
  });

  test.each([
    ['data', (send: (data: string) => void) => send('a')],
    ['much data', (send: (data: string) => void) => send('a'.repeat(100_000))],
  ])('where %s comes before a token', async (_what, act) => {
    const { address } = await startStreams();
    const { send, show, ended } = openStream(address, '');
    act(send);
    show(token);
    expect(await ended).toMatchObject({ code: FAILED_PRECONDITION });
  });

  test('where there is no token at all', async () => {
    const { address } = await startStreams();
    const { stream, ended } = openStream(address, '');
    stream.end();
    expect(await ended).toMatchObject({ code: FAILED_PRECONDITION });
  });

  test('where a message is none', async () => {
    const { address } = await startStreams();
    const { stream, ended, answers, send } = openStream(address);
    send('a');
    stream.write(Buffer.from([0x0a, 0x7f]));
    expect(await ended).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(answers).toEqual(['a']);
  });

  test.each([
    ['of another model', { human_readable_id: 'other' }],
    ['of somebody else', { human_readable_id: 'echo', owner: 'key:b' }],
  ])('where a token %s is to renew it', async (_what, caller) => {
    const { api, address, model } = await startStreams();
    const models = [model, modelOf(2, { human_readable_id: 'other' })];
    api.tell({ models });
    api.callers.set(tokenOf(3), caller);
    const { show, ended } = openStream(address);
    show(tokenOf(3));
    expect(await ended).toMatchObject({ code: FAILED_PRECONDITION });
  });
});
