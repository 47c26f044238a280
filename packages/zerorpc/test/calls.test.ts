import { expect, test } from 'vitest';
import { ZeroRpcError, type ZeroRpcCall } from '../src/index.js';
import { eventually, method, startPeers, startServer, tableOf } from './peers.js';

const echo = method((args) => args[0], { parameters: [{ name: 'value' }] });

test('a value is answered as it came, with its type', async () => {
  const { port, faults } = await startServer({ echo });
  const peers = await startPeers(port);
  const values: unknown[] = [
    ...[null, true, 0, -1, 127, 128, 65_536, 2 ** 31, 2 ** 32, -(2 ** 31) - 1, 2 ** 52, 'text', ''],
    ...['ü€😀', [], {}, [1, ['a', null]], { a: { b: [1] } }, { constructor: 1 }, { $bin: '' }],
    ...[{ $bin: '00ff80' }, { $int: '18446744073709551615' }, { $int: '-9223372036854775808' }],
    { $int: '9007199254740993' },
  ];
  for (const value of values) {
    const call = peers.call('echo', [value]);
    expect(await peers.next(call)).toMatchObject({ name: 'OK', args: [value] });
  }
  expect(faults).toEqual([]);
});

test('what a method answers is told exactly', async () => {
  const answers: [unknown, unknown][] = [
    [2n ** 63n, { $int: '9223372036854775808' }],
    [5n, 5],
    [4294967295n, 4294967295],
    [5_000_000_000, 5_000_000_000],
    [1.5, { $float: '1.5' }],
    [NaN, { $float: 'nan' }],
    [undefined, null],
    [{ a: undefined }, { a: null }],
    ['\ud800x', '\ufffdx'],
    [JSON.parse('{"__proto__": 1}'), { ['__proto__']: 1 }],
    [new Map([['k', 1]]), { k: 1 }],
    [new Uint8Array([1, 2]), { $bin: '0102' }],
  ];
  const { port, faults } = await startServer({
    tell: method(([n]) => answers[Number(n)]![0]),
  });
  const peers = await startPeers(port);
  for (const [n, [, wanted]] of answers.entries()) {
    const call = peers.call('tell', [n]);
    const { name, args } = await peers.next(call);
    expect(JSON.stringify([name, args])).toBe(JSON.stringify(['OK', [wanted]]));
  }
  expect(faults).toEqual([]);
});

test('an answer that cannot be told is a fault, and the client hears of an error', async () => {
  const answers = [2n ** 64n, () => 1, new Date(0), new Float32Array(2), nested(70)];
  const { port, faults } = await startServer({
    tell: method(([n]) => answers[Number(n)]),
  });
  const peers = await startPeers(port);
  for (const n of answers.keys()) {
    const call = peers.call('tell', [n]);
    expect(await peers.next(call)).toMatchObject({ name: 'ERR', args: ['InternalError', {}, {}] });
  }
  expect(faults.length).toBe(answers.length);
});

test.each([
  ['a string', 'channel-1'],
  ['a long string', 'x'.repeat(200)],
  ['bin', { $bin: '00ff0102' }],
  ['long bin', { $bin: 'ab'.repeat(200) }],
])('a channel is named by the first id in its own type: %s', async (_what, id) => {
  const { port } = await startServer({ echo });
  const peers = await startPeers(port);
  peers.call('echo', [7], { id });
  const { name, to, id: own } = await peers.next(id);
  expect([name, to]).toEqual(['OK', id]);
  expect(own).not.toEqual(id);
});

test('a call knows its connection, its headers and its version', async () => {
  const calls: ZeroRpcCall[] = [];
  const { port } = await startServer({
    note: method((_args, call) => void calls.push(call)),
  });
  const peers = await startPeers(port);
  peers.command({ do: 'open', client: 2, proxied: true });
  const header = { token: 'isk_x', extra: [1, { a: { $bin: '01' } }], __proto: 1 };
  for (const [client, version] of [
    [0, 3],
    [0, 2],
    [1, 3],
    [2, 3],
  ] as const) {
    const options = { client, header: { ...header, v: version } };
    await peers.next(peers.call('note', [], options), client);
  }
  const [first, second, third, fourth] = calls as [
    ZeroRpcCall,
    ZeroRpcCall,
    ZeroRpcCall,
    ZeroRpcCall,
  ];
  expect(first.connection).toBe(second.connection);
  expect(first.connection.id).not.toBe(third.connection.id);
  expect(calls.every(({ connection }) => connection.address === '127.0.0.1')).toBe(true);
  expect([third.isRelayed, fourth.isRelayed]).toEqual([false, true]);
  expect([first.version, second.version]).toEqual([3, 2]);
  expect(first.headers.get('token')).toBe('isk_x');
  expect([...first.headers.keys()]).toEqual(['token', 'extra', '__proto']);
});

test('methods come and go while it runs', async () => {
  const table = new Map([['a', echo]]);
  const { port } = await startServer({}, { methods: tableOf(table) });
  const peers = await startPeers(port);
  const names = async () => (await peers.next(peers.call('_zerorpc_list', []))).args;
  expect(await names()).toEqual([['a']]);
  table.set('b', echo).delete('a');
  expect(await names()).toEqual([['b']]);
  expect((await peers.next(peers.call('b', [1]))).name).toBe('OK');
  expect((await peers.next(peers.call('a', [1]))).args).toMatchObject(['NameError', {}, {}]);
});

test('methods may differ from client to client, and what is refused says why', async () => {
  const own = (call: ZeroRpcCall) => new Map([[String(call.headers.get('name')), echo]]);
  const { port } = await startServer(
    {},
    {
      methods: {
        find: async (name, call) => {
          if (name === 'secret') throw new ZeroRpcError('PermissionError', 'Not for you.');
          return own(call).get(name);
        },
        list: async (call) => own(call),
      },
    },
  );
  const peers = await startPeers(port);
  const ask = async (header: Record<string, unknown>, name: string, ...args: unknown[]) =>
    (await peers.next(peers.call(name, args, { header }))).args;
  const mine = { name: 'mine' };
  expect(await ask(mine, '_zerorpc_list')).toEqual([['mine']]);
  expect(await ask(mine, 'mine', 1)).toEqual([1]);
  expect(await ask(mine, '_zerorpc_help', 'mine')).toEqual(['A method.']);
  expect(await ask({ name: 'yours' }, 'mine', 1)).toMatchObject(['NameError', {}, {}]);
  expect(await ask({ name: 'yours' }, '_zerorpc_args', 'mine')).toMatchObject([
    'NameError',
    {},
    {},
  ]);
  for (const name of ['secret', '_zerorpc_help']) {
    expect(await ask(mine, name, 'secret')).toMatchObject(['PermissionError', 'Not for you.', {}]);
  }
});

test('what a method takes of the budget is given back with the end of its call', async () => {
  const before: number[] = [];
  const { port, budget } = await startServer({
    hold: method(([bytes], { take }) => {
      before.push(budget.held);
      return [take(Number(bytes)), budget.held - before.at(-1)!];
    }),
  });
  const peers = await startPeers(port);
  const hold = async (bytes: number) => (await peers.next(peers.call('hold', [bytes]))).args;
  expect(await hold(1_000_000)).toEqual([[true, 1_000_000]]);
  await eventually(() => budget.held).toBe(0);
  expect(await hold(4e9)).toEqual([[false, 0]]);
  await eventually(() => budget.held).toBe(0);
});

test('errors have name, message and traceback; what is not meant for clients stays here', async () => {
  const { port, faults } = await startServer({
    refuse: method(() => {
      throw new ZeroRpcError('ValueError', 'No such thing.');
    }),
    trace: method(async () => Promise.reject(new ZeroRpcError('KeyError', 'k', 'Traceback: …'))),
    break: method(() => {
      throw new Error('secret');
    }),
  });
  const peers = await startPeers(port);
  const answer = async (name: string, header = {}) => {
    const { name: event, args } = await peers.next(peers.call(name, [], { header }));
    return [event, ...(args as unknown[])];
  };
  expect(await answer('refuse')).toEqual([
    ...['ERR', 'ValueError', 'No such thing.', 'ValueError: No such thing.'],
  ]);
  expect(await answer('trace')).toEqual(['ERR', 'KeyError', 'k', 'Traceback: …']);
  expect(await answer('refuse', { v: 2 })).toHaveLength(4);
  expect(await answer('refuse', { v: 1 })).toEqual(['ERR', "ValueError('No such thing.')"]);
  expect(await answer('refuse', { v: null })).toEqual(['ERR', "ValueError('No such thing.')"]);
  const broken = await answer('break');
  expect(broken.slice(0, 2)).toEqual(['ERR', 'InternalError']);
  expect(JSON.stringify(broken)).not.toContain('secret');
  expect(faults).toMatchObject([{ message: 'secret' }]);
});

test('arguments are held against the parameters', async () => {
  const { port, faults } = await startServer({
    two: method((args) => args.length, {
      parameters: [{ name: 'a' }, { name: 'b', default: 5 }],
    }),
  });
  const peers = await startPeers(port);
  const answer = async (args: unknown) => (await peers.next(peers.call('two', args))).args;
  expect(await answer([1])).toEqual([1]);
  expect(await answer([1, 2])).toEqual([2]);
  for (const wrong of [[], [1, 2, 3], null, 7, 'text', { a: 1 }]) {
    expect(await answer(wrong)).toMatchObject(['TypeError', {}, {}]);
  }
  const constructor = await peers.next(peers.call('constructor', []));
  expect(constructor.args).toMatchObject(['NameError', {}, {}]);
  expect(faults).toEqual([]);
});

test('a server tells what it has', async () => {
  const { port } = await startServer({
    add: method(() => 0, { doc: 'Adds.', parameters: [{ name: 'a' }, { name: 'b', default: 1 }] }),
    any: method(() => 0, { doc: 'Takes anything.' }),
    _hidden: method(() => 'found'),
  });
  const peers = await startPeers(port);
  const ask = async (name: string, ...args: unknown[]) =>
    (await peers.next(peers.call(name, args))).args;
  const parameters = [{ name: 'a' }, { name: 'b', default: 1 }];
  expect(await ask('_zerorpc_inspect')).toEqual([
    {
      name: 'TestService',
      methods: {
        add: { args: parameters, doc: 'Adds.' },
        any: { args: null, doc: 'Takes anything.' },
      },
    },
  ]);
  expect(await ask('_zerorpc_list')).toEqual([['add', 'any']]);
  expect(await ask('_zerorpc_name')).toEqual(['TestService']);
  expect(await ask('_zerorpc_ping')).toEqual([['pong', 'TestService']]);
  expect(await ask('_zerorpc_help', 'add')).toEqual(['Adds.']);
  expect(await ask('_zerorpc_args', 'add')).toEqual([parameters]);
  expect(await ask('_zerorpc_args', 'any')).toEqual([null]);
  expect(await ask('_hidden')).toEqual(['found']);
  for (const odd of ['none', 7, null, '__proto__']) {
    expect(await ask('_zerorpc_help', odd)).toMatchObject(['NameError', {}, {}]);
  }
  expect(await ask('_zerorpc_args')).toMatchObject(['TypeError', {}, {}]);
});

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let n = 0; n < depth; n += 1) value = [value];
  return value;
}
