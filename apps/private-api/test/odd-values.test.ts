import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { consumerToken } from '@inference-server/service-kit';
import { runPrivateApi, type RunningPrivateApi } from './running-private-api.js';
import { plenty } from './capacities.js';

/** What fuzzing found to end in a 500, or in no answer at all. */
let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
  await api.postModel('copy');
});
afterAll(() => api.close());

const uid = 'A'.repeat(43);

async function ask(path: string, init: RequestInit = {}) {
  const token = path.startsWith('/internal') ? consumerToken(api.operatorToken, 'c1') : undefined;
  const headers = { 'content-type': 'application/json', ...(init.headers as object) };
  const response = await api.call(path, { ...init, headers }, token);
  const { status, code } = (await response.json()) as { status?: number; code?: string };
  return [status ?? response.status, code];
}

const send = (method: string, path: string, body: unknown) =>
  ask(path, { method, body: typeof body === 'string' ? body : JSON.stringify(body) });

it.each(['1.001', '0.0015', '1e-9'])(
  'a wait of %s s, which is no whole number of milliseconds',
  async (wait) => {
    const posted = await api.postTask('copy');
    expect(await ask(`/api/tasks/${posted}?wait=${wait}`)).toEqual([551, 'TASK_PENDING']);
  },
);

const refused = [422, 'VALIDATION_FAILED'];
const ended = { detail: '', exit_code: 0, log: '' };
const lease = { epoch: 1, holder: 'h' };

describe('numbers that the database does not take', () => {
  it.each([2 ** 31, 2 ** 53, 1e308])('%d', async (number) => {
    const at = `/internal/attempts/${uid}`;
    expect(await send('POST', `${at}/${number}/claim`, { holder: 'h' })).toEqual(refused);
    expect(await ask(`${at}/1/input?holder=h&epoch=${number}`)).toEqual(refused);
    expect(await send('POST', `${at}/1/renew`, { ...lease, epoch: number })).toEqual(refused);
    const result = { kind: 'fault', cause: 'internal', ...ended, exit_code: number };
    expect(await send('POST', `${at}/1/settle`, { lease, result })).toEqual(refused);
  });
});

describe('a registration', () => {
  const registration = {
    holder: 'h',
    version: '0',
    state: 'ready',
    reason: null,
    ...plenty,
  };
  const device = { uuid: 'GPU-1', name: null, memory_mib: null, driver: null };
  const register = (more: object) =>
    send('PUT', '/internal/consumers/c1', { ...registration, ...more });

  it.each<[what: string, more: object]>([
    ['more memory than there is', { host: { cpus: 1, memory_mib: 2 ** 31 } }],
    [
      'a share of no core',
      { share: { cpus: 0, memory_mib: 1, cpus_per_task: null, memory_per_task_mib: null } },
    ],
    ['a NUL in the name of a device', { device: { ...device, name: 'a\0' } }],
    ['a device without a name', { device: { ...device, uuid: '' } }],
    ['more of a device', { device: { ...device, more: 1 } }],
    ['a NUL in a label', { labels: { a: '\0' } }],
    ['a comma in a label', { labels: { a: 'b,c' } }],
    ['half a surrogate pair in a label', { labels: { a: '\ud800' } }],
    ['a NUL in the name of a label', { labels: { '\0': 'a' } }],
    ['a line break in the name of a label, and no text for it', { labels: { 'a\nb': {} } }],
    ['a long name of a label', { labels: { ['a'.repeat(64)]: 'a' } }],
  ])('with %s', async (_what, more) => {
    expect(await register(more)).toEqual(refused);
  });

  it('with labels of all that is taken', async () => {
    expect(await register({ labels: { 'a.b/c': 'x:1@y+z', d: '' } })).toEqual([200, undefined]);
  });
});

it('a part of a form that is none, and longer than the buffers, is refused', async () => {
  const body = `--b\r\nX: y\r\n\r\n${'a'.repeat(30_000)}\r\n--b--\r\n`;
  const headers = { 'content-type': 'multipart/form-data; boundary=b' };
  const posted = await ask('/api/tasks/?human_readable_id=copy', { method: 'POST', body, headers });
  expect(posted).toEqual([422, 'INVALID_FORM']);
});

it.each(['b y', '"b"c', '"b'])('a boundary of two readings: %s', async (boundary) => {
  const body = `--b\r\nContent-Disposition: form-data; name="zip_file"\r\n\r\n\r\n--b--\r\n`;
  const headers = { 'content-type': `multipart/form-data; boundary=${boundary}` };
  const posted = await ask('/api/tasks/?human_readable_id=copy', { method: 'POST', body, headers });
  expect(posted).toEqual([400, 'MALFORMED_REQUEST']);
});
