import { randomBytes, randomUUID } from 'node:crypto';
import AdmZip from 'adm-zip';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  allRoutes,
  callerHeader,
  frameInvocation,
  headedType,
  publicRoutes,
  roles,
  writeCaller,
  type CreatedKey,
  type IssuedToken,
  type Role,
  type RouteContract,
} from '@inference-server/contracts';
import { consumerToken, publicApiToken, rpcGatewayToken } from '@inference-server/service-kit';
import { waitUntil } from '@inference-server/testing';
import {
  leastRoleOf,
  relationsOf,
  verdictAtDoor,
  verdictOf,
  verdictOn,
  type Relation,
  type Who,
} from './access-matrix.js';
import { leastRoles } from './least-roles.js';
import { runServer, type RunningServer } from './running-server.js';

let server: RunningServer;
let strangers: Who;
const people = new Map<string, Who>();
const zip = new AdmZip();
zip.addFile('run.sh', Buffer.from('true'));
const zipBytes = new Uint8Array(zip.toBuffer());

beforeAll(async () => {
  server = await runServer();
  await server.startPrivateApi();
  await server.startPublicApi();
  // So that what names a consumer finds one; nothing is ever run.
  await server.database.query(
    `INSERT INTO consumers (id, holder, version, state, slots, host, share, process, labels, heartbeat_at)
     VALUES ('c1', 'h', '0', 'gone', 1, '{}', '{"cpus":1,"memory_mib":1}', 'p', '{}', now())`,
  );
  strangers = await keyOf('publish');
  for (const role of roles) people.set(role, await keyOf(role));
  people.set('anonymous', { headers: {}, owner: 'anonymous', role: 'publish' });
  await addPeople();
  await addWhatIsOver();
}, 60_000);

const callers = [
  ...roles,
  ...['anonymous', 'a person', 'a person who may less now', 'a token for one model'],
  ...['a wrong key', 'a key past its time', 'a revoked key', 'a token past its time'],
  'a person who is locked out',
];

describe.each(publicRoutes.map((route) => [route.operationId, route] as const))(
  'public-api: %s',
  (_id, route) => {
    it.each(callers)('by %s', async (name) => {
      const who = people.get(name) ?? expect.fail(name);
      for (const relation of relationsOf(route)) {
        const request = await requestOf(route, who, relation);
        const answer = await send(server.publicApiUrl, route.method, request.path, {
          ...request,
          headers: { ...request.headers, ...who.headers },
        });
        await answer.arrayBuffer();
        expect([relation, verdictOf(route, answer.status)]).toEqual([
          relation,
          verdictAtDoor(route, who, relation),
        ]);
      }
    });
  },
);

const ofPrivateApi = allRoutes.filter(({ servedBy }) => servedBy === undefined);
describe.each(ofPrivateApi.map((route) => [route.operationId, route] as const))(
  'private-api: %s',
  (_id, route) => {
    it.each(roles)('by public-api for somebody with the role %s', async (role) => {
      for (const relation of relationsOf(route)) {
        const who = people.get(role) ?? expect.fail(role);
        const request = await requestOf(route, who, relation);
        const said = writeCaller({ owner: who.owner, role, credential: 'x', address: 'y' });
        const status = await statusAs(publicApiToken(server.token), { ...request, said }, route);
        const asks = leastRoleOf(route) === 'internal' && route.callers.includes('public-api');
        const isDoor = route.callers.includes('public-api') || isOpenToAll(route);
        const wanted = asks ? 'allowed' : isDoor ? verdictOn(route, role, relation) : 403;
        expect([relation, verdictOf(route, status)]).toEqual([relation, wanted]);
      }
    });

    it('by other tokens, and by none', async () => {
      const who = people.get('admin') ?? expect.fail('admin');
      const request = await requestOf(route, who, 'own');
      const isFor = (kind: RouteContract['callers'][number]) =>
        isOpenToAll(route) || route.callers.includes(kind);
      const gateway = rpcGatewayToken(server.token);
      const consumer = consumerToken(server.token, 'c1');
      const forged = `public-api.-.${randomBytes(32).toString('base64url')}`;
      for (const [token, isAllowed, refusal] of [
        [server.token, isFor('operator'), 403],
        [gateway, isFor('rpc-gateway'), 403],
        [consumer, isFor('consumer'), 403],
        [forged, isOpenToAll(route), 401],
        ['', isOpenToAll(route), 401],
      ] as const) {
        const status = await statusAs(token, request, route);
        // Its requests are right, and of what is there, in private-api's consumer-matrix.test.ts.
        const isItsOwn = token === consumer && isAllowed && route.access === 'internal';
        // Nor does the gateway say here for whom it asks.
        const isForNobody = token === gateway && isAllowed && route.access !== 'internal';
        const isUnsaid = (isItsOwn || isForNobody) && status === 422;
        const found = isUnsaid ? 'allowed' : verdictOf(route, status);
        expect([token.slice(0, 8), found]).toEqual([
          token.slice(0, 8),
          isAllowed ? 'allowed' : refusal,
        ]);
      }
      if (route.object === 'consumer' && isFor('consumer')) {
        expect(await statusAs(consumerToken(server.token, 'c2'), request, route)).toBe(403);
      }
      // Nobody but a door acts for somebody.
      if (isOpenToAll(route)) return;
      const said = writeCaller({ owner: 'a', role: 'admin', credential: 'a', address: 'a' });
      for (const token of [server.token, consumer]) {
        expect(await statusAs(token, { ...request, said }, route)).toBe(403);
      }
      if (!isFor('public-api') || route.access === 'internal') return;
      expect(await statusAs(publicApiToken(server.token), request, route)).toBe(422);
    });
  },
);

it('every route needs the role that was decided, and no other', () => {
  const said = Object.fromEntries(
    allRoutes.map(({ operationId, access }) => [operationId, access]),
  );
  expect(said).toEqual(leastRoles);
});

it('every parameter of a path that names something has a rule', () => {
  const objects: Record<string, RouteContract['object']> = {
    uid: 'task',
    human_readable_id: 'model',
    consumer_id: 'consumer',
    task_uid: 'attempt',
    key_id: 'key',
    user_name: 'user',
  };
  for (const { operationId, path, object } of allRoutes) {
    const [named] = [...path.matchAll(/:(\w+)/g)].map(([, name = '']) => objects[name]);
    expect([operationId, object]).toEqual([operationId, named ?? 'none']);
  }
});

async function operator(method: string, path: string, body?: object): Promise<Response> {
  const type = { 'content-type': 'application/json' };
  const answer = await send(server.privateApiUrl, method, path, {
    headers: { authorization: `Bearer ${server.token}`, ...(body && type) },
    ...(body && { body: JSON.stringify(body) }),
  });
  expect(answer.status).toBe(200);
  return answer;
}

async function keyOf(role: Role): Promise<Who> {
  const answer = await operator('POST', '/api/admin/keys/', { name: role, role });
  const { key, owner } = (await answer.json()) as CreatedKey;
  return { headers: { authorization: `Bearer ${key}` }, owner, role };
}

/** Who logs in by name and password, at the door, for a token. */
async function personWith(name: string, role: Role): Promise<Who> {
  const password = 'correct horse battery';
  await operator('PUT', `/api/admin/users/${name}`, { password, role });
  const login = { user_name: name, password, role };
  return { headers: await tokenFor(login), owner: `user:${name}`, role, isToken: true };
}

async function tokenFor(request: object, headers = {}): Promise<Record<string, string>> {
  const answer = await send(server.publicApiUrl, 'POST', '/api/tokens/', {
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(request),
  });
  expect(answer.status).toBe(200);
  return { authorization: `Bearer ${((await answer.json()) as IssuedToken).token}` };
}

async function addPeople(): Promise<void> {
  people.set('a person', await personWith('ada', 'publish'));
  const lowered = await personWith('bob', 'operate');
  await operator('PUT', '/api/admin/users/bob', { role: 'submit' });
  people.set('a person who may less now', { ...lowered, role: 'submit' });
  const maker = await keyOf('admin');
  const onlyModel = await modelOf(maker.owner);
  const request = { role: 'admin', human_readable_id: onlyModel };
  const headers = await tokenFor(request, maker.headers);
  people.set('a token for one model', { ...maker, headers, isToken: true, onlyModel });
}

/** What was good, or never was. */
async function addWhatIsOver(): Promise<void> {
  const [late, revoked, locked] = [
    await keyOf('admin'),
    await keyOf('admin'),
    await personWith('cid', 'admin'),
  ];
  const short = await tokenFor({ expires_in_s: 1 }, strangers.headers);
  await server.database.query(`UPDATE keys SET expires_at = now() WHERE owner = $1`, [late.owner]);
  await operator('DELETE', `/api/admin/keys/${revoked.owner.slice('key:'.length)}`);
  await operator('DELETE', '/api/admin/users/cid');
  const wrong = { authorization: `Bearer isk_${'a'.repeat(16)}_${'A'.repeat(43)}` };
  const over: [name: string, headers: Who['headers']][] = [
    ['a wrong key', wrong],
    ['a key past its time', late.headers],
    ['a revoked key', revoked.headers],
    ['a token past its time', short],
    ['a person who is locked out', locked.headers],
  ];
  for (const [name, headers] of over) {
    people.set(name, { headers, owner: 'nobody', role: undefined });
    const isOver = async () =>
      (await send(server.publicApiUrl, 'GET', '/api/models/', { headers })).status === 401;
    expect(await waitUntil(isOver, { timeoutMs: 10_000 }), name).toBe(true);
  }
}

function isOpenToAll({ callers: those }: RouteContract): boolean {
  return those.includes('anyone');
}

interface Sent {
  path: string;
  headers: Record<string, string>;
  body?: Uint8Array<ArrayBuffer> | string;
}

async function statusAs(
  token: string,
  { path, headers, body, said }: Sent & { said?: string },
  { method }: RouteContract,
): Promise<number> {
  const answer = await send(server.privateApiUrl, method, path, {
    headers: {
      ...headers,
      ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
      ...(said === undefined ? {} : { [callerHeader]: said }),
    },
    ...(body === undefined ? {} : { body }),
  });
  await answer.arrayBuffer();
  return answer.status;
}

function send(
  base: string,
  method: string,
  path: string,
  { headers, body }: Omit<Sent, 'path'>,
): Promise<Response> {
  return fetch(base + path, {
    method,
    headers,
    ...(body === undefined ? {} : { body }),
    signal: AbortSignal.timeout(20_000),
  });
}

/** A request that is right but for what it may not do, to something that nobody has touched yet. */
async function requestOf(route: RouteContract, who: Who, relation: Relation): Promise<Sent> {
  const of: Record<string, string> = { gateway_id: randomUUID(), id: '17', version: '1' };
  Object.assign(of, await objectOf(route, who, relation));
  const fresh = `m-${randomBytes(8).toString('hex')}`;
  const path = route.path.replace(/:(\w+)/g, (_match, name: string) => of[name] ?? 'x');
  switch (route.body?.kind) {
    case 'json':
      return {
        path,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(bodyOf(route)),
      };
    case 'headed': {
      const head = frameInvocation({ id: 1, metadata: [], output_metadata: [] });
      return { path, headers: { 'content-type': headedType }, body: new Uint8Array(head) };
    }
    case 'zip-upload': {
      const id = route.operationId === 'postTask' ? await modelOf('operator') : fresh;
      const query = {
        ...(route.operationId === 'putModel' ? {} : { human_readable_id: id }),
        ...(route.operationId === 'postTask' ? {} : { container_tag: 'busybox:1' }),
      };
      const isTask = route.operationId === 'postTask';
      return {
        path: `${path}?${new URLSearchParams(query).toString()}`,
        headers: isTask ? { 'content-type': 'application/zip' } : {},
        ...(isTask ? { body: zipBytes } : {}),
      };
    }
    default:
      return { path, headers: {} };
  }
}

function bodyOf({ operationId }: RouteContract): object {
  switch (operationId) {
    case 'createKey':
      return { name: 'made in the matrix', role: 'submit' };
    case 'putUser':
      return { password: 'correct horse battery', role: 'submit' };
    case 'syncGateway':
      return { revision: null, models_revision: null, number: 1, holds: [], demand: [] };
    case 'identifyCaller':
      return { bearer: strangers.headers['authorization']?.slice(7), address: '192.0.2.1' };
    case 'identifyBearers':
      return { bearers: ['nobody’s'] };
    case 'noteRefusals': {
      const [owner, address] = ['unknown', '192.0.2.1'];
      const refusal = { owner, credential: owner, address, operation_id: 'getTask', times: 1 };
      return { refusals: [{ ...refusal, code: 'UNAUTHORIZED' }] };
    }
    default:
      return {};
  }
}

async function objectOf(
  { object }: RouteContract,
  who: Who,
  relation: Relation,
): Promise<Record<string, string>> {
  const owner = relation === 'foreign' ? strangers.owner : who.owner;
  const isMissing = relation === 'missing';
  const unknown = randomBytes(32).toString('base64url');
  switch (object) {
    case 'task':
      return { uid: isMissing ? unknown : await taskOf(owner) };
    case 'model':
      if (relation === 'own' && who.onlyModel !== undefined) {
        return { human_readable_id: who.onlyModel };
      }
      return { human_readable_id: isMissing ? unknown.replace(/^./, 'm') : await modelOf(owner) };
    case 'key':
      return { key_id: isMissing ? 'a'.repeat(16) : await rowOf('key') };
    case 'user':
      return { user_name: isMissing ? `nobody${unknown.slice(0, 9)}` : await rowOf('user') };
    case 'consumer':
      return { consumer_id: isMissing ? 'c2' : 'c1' };
    case 'attempt':
      return { task_uid: unknown, attempt: '1' };
    case 'none':
      return {};
  }
}

async function modelOf(owner: string): Promise<string> {
  const id = `m-${randomBytes(8).toString('hex')}`;
  await server.database.query(
    `WITH m AS (INSERT INTO models (human_readable_id, description, current_version, owner)
                VALUES ($1, '', 1, $2) RETURNING human_readable_id)
     INSERT INTO model_versions (human_readable_id, number, container_tag, use_gpu, pull_policy)
     SELECT human_readable_id, 1, 'busybox:1', false, 'missing' FROM m`,
    [id, owner],
  );
  return id;
}

async function taskOf(owner: string): Promise<string> {
  const uid = randomBytes(32).toString('base64url');
  await server.database.query(
    `INSERT INTO tasks (uid, owner, model_version_id)
     SELECT $1, $2, id FROM model_versions WHERE human_readable_id = $3`,
    [uid, owner, await modelOf('operator')],
  );
  return uid;
}

async function rowOf(kind: 'key' | 'user'): Promise<string> {
  const name = randomBytes(10)
    .toString('hex')
    .replaceAll(/[0189]/g, 'a')
    .slice(0, 16);
  await server.database.query(
    kind === 'key'
      ? `INSERT INTO keys (id, secret_sha256, name, role, owner, created_by)
         VALUES ($1, '', 'x', 'submit', 'key:x', 'x')`
      : `INSERT INTO users (user_name, password_hash, role, created_by)
         VALUES ($1, '', 'submit', 'x')`,
    [name],
  );
  return name;
}
