import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { eventually, method, MiB, startPeers, startServer, type Peers } from './peers.js';

const echo = method((args) => args[0]);
const isWell = async (peers: Peers, client = 0) =>
  (await peers.next(peers.call('_zerorpc_ping', [], { client }), client)).name;

/** `[{message_id: 'x', v: 3}, 'echo', ` in MessagePack. */
const begun = '9382aa6d6573736167655f6964a178a17603a46563686f';

test('frames that are no message are dropped and counted', async () => {
  const { port, dropped, faults } = await startServer({ echo });
  const peers = await startPeers(port);
  const garbage = [
    ...[[''], ['', ''], ['00'], ['90'], ['', 'c1'], ['', '90'], ['', '93'], ['', '93808080']],
    // No id; an id of another type, an empty one, a long one; a name that is no text.
    ...[
      ['', '9380a16190'],
      ['', '9381aa6d6573736167655f696407a16190'],
    ],
    ...[['', '9381aa6d6573736167655f6964a0a16190']],
    ...[['', `9381aa6d6573736167655f6964da0101${'61'.repeat(257)}a16190`]],
    ...[['', '9381aa6d6573736167655f6964a178c0c0']],
    // More parts than three, a header that is a list, a key twice as deep as anybody reads.
    ...[
      ['', '9481aa6d6573736167655f6964a178a16190c0'],
      ['', '939090a1'],
    ],
    ...[
      ['', `93${'81'.repeat(50)}`],
      ['', '93df7fffffff'],
      ['', 'dd7fffffff'],
      ['', 'ddffffffff'],
    ],
    ...[
      ['', '9381a95f5f70726f746f5f5f80a16190'],
      ['00', '00', '00'],
    ],
    Array.from({ length: 10 }, () => ''),
  ];
  for (const frames of garbage) peers.command({ do: 'frames', client: 0, frames });
  expect(await isWell(peers)).toBe('OK');
  expect(dropped).toEqual(garbage.map(() => 'form'));
  expect([faults, peers.came]).toEqual([[], []]);
});

test.each([
  ['nothing', ''],
  ['a list that says to be long', '91dd7fffffff'],
  ['a list within lists', '91'.repeat(100) + 'c0'],
  ['a map of maps', '91' + '81a161'.repeat(100) + 'c0'],
  ['half a string', '91a561'],
  ['half a length', '91dc00'],
  ['a key __proto__', '9181a95f5f70726f746f5f5f80'],
  ['a key that is a list', '918190c0'],
  ['a string that is no UTF-8', '91a2ff00'],
  ['a long string that is no UTF-8', `91da0100${'80'.repeat(256)}`],
  ['a date', '91d6ff00000000'],
  ['another extension', '91c70305010203'],
  ['a byte of no meaning', '91c1'],
  ['more after it', '91c0c0'],
  ['too many values', '91dc07d0' + 'c0'.repeat(2_000)],
])('arguments that cannot be read are told: %s', async (_what, args) => {
  const { port, faults, budget } = await startServer({ echo }, { limits: { maxValues: 1_000 } });
  const peers = await startPeers(port);
  peers.command({ do: 'frames', client: 0, frames: ['', begun + args] });
  expect(await peers.next('x')).toMatchObject({ name: 'ERR', args: ['TypeError', {}, {}] });
  await eventually(() => budget.held).toBe(0);
  expect(faults).toEqual([]);
});

test('every form of MessagePack is read', async () => {
  const { port } = await startServer({ echo });
  const peers = await startPeers(port);
  const forms = [
    ...['cc07', 'cd0007', 'ce00000007', 'd007', 'd10007', 'd200000007', 'cf0000000000000007'],
    'd30000000000000007',
  ];
  for (const form of forms) {
    peers.command({ do: 'frames', client: 0, frames: ['', `${begun}91${form}`] });
    expect((await peers.next('x')).args).toEqual([7]);
  }
  const texts = ['a3616263', 'd903616263', 'da0003616263', 'db00000003616263'];
  for (const text of texts) {
    peers.command({ do: 'frames', client: 0, frames: ['', `${begun}dc0001${text}`] });
    expect((await peers.next('x')).args).toEqual(['abc']);
  }
  for (const map of ['de0001a16107', 'df00000001a16107', '81a161cb401c000000000000']) {
    peers.command({ do: 'frames', client: 0, frames: ['', `${begun}dd00000001${map}`] });
    expect((await peers.next('x')).args).toEqual([{ a: 7 }]);
  }
  peers.command({ do: 'frames', client: 0, frames: ['', `${begun}91820701d3000000000000000802`] });
  expect((await peers.next('x')).args).toEqual([{ 7: 1, 8: 2 }]);
});

test('the words of old clients may be bin', async () => {
  const { port } = await startServer({ echo });
  const peers = await startPeers(port);
  // {message_id: 'x', v: 2, 'token': 't'} with keys and name as bin.
  const header = '83c40a6d6573736167655f6964c40178c4017602c405746f6b656ec40174';
  peers.command({ do: 'frames', client: 0, frames: ['', `93${header}c4046563686f9107`] });
  const { name, args, to } = await peers.next({ $bin: '78' });
  expect([name, args, to]).toEqual(['OK', [7], { $bin: '78' }]);
});

test('what only servers say changes nothing', async () => {
  let answer = (_value: unknown) => {};
  const { port, dropped, faults } = await startServer({
    wait: method(() => new Promise((resolve) => (answer = resolve))),
  });
  const peers = await startPeers(port);
  const call = peers.call('wait', []);
  const names = ['OK', 'ERR', 'STREAM', 'STREAM_DONE'];
  for (const name of names) peers.event(call, name, ['x', 'y', 'z']);
  // As the first of a channel, they are methods that nobody has.
  for (const name of [...names, '_zpc_more', '_zpc_hb', '']) {
    const { args } = await peers.next(peers.call(name, [1]));
    expect(args).toMatchObject(['NameError', {}, {}]);
  }
  expect(dropped).toEqual(names.map(() => 'event'));
  answer(1);
  expect((await peers.next(call)).args).toEqual([1]);
  expect(faults).toEqual([]);
});

test('unknown events, and events of calls that are not open, change nothing', async () => {
  let answer = (_value: unknown) => {};
  const { port, dropped, faults } = await startServer({
    wait: method(() => new Promise((resolve) => (answer = resolve))),
  });
  const peers = await startPeers(port);
  const call = peers.call('wait', []);
  peers.event(call, 'STREAM', [1]);
  peers.event(call, 'anything', null);
  peers.event(call, '_zpc_more', ['many']);
  peers.event(call, '_zpc_more', [-5]);
  peers.event(call, '_zpc_more', { a: 1 });
  peers.event(call, '_zpc_more', null);
  peers.event(call, '_zpc_hb', 'odd');
  peers.event('none', '_zpc_hb', [0]);
  // The call of one client is not another's to speak on.
  peers.event(call, '_zpc_more', [1], 1);
  expect([await isWell(peers), await isWell(peers, 1)]).toEqual(['OK', 'OK']);
  const of = (wanted: string) => dropped.filter((reason) => reason === wanted).length;
  expect([of('event'), of('channel'), dropped.length]).toEqual([6, 2, 8]);
  answer(1);
  expect((await peers.next(call)).args).toEqual([1]);
  expect(faults).toEqual([]);
});

test('a frame beyond the limit cuts its sender off, and nobody else', async () => {
  const { port } = await startServer({ echo }, { limits: { maxFrameBytes: MiB } });
  const peers = await startPeers(port, 'sizes');
  expect(await isWell(peers, 1)).toBe('OK');
  const fitting = peers.call('echo', [{ $bytes: MiB - 200 }]);
  expect(await peers.next(fitting)).toMatchObject({ name: 'OK' });
  peers.call('echo', [{ $bytes: MiB }]);
  expect(await isWell(peers, 1)).toBe('OK');
  // ZeroMQ connects it again, as another client.
  expect(await isWell(peers)).toBe('OK');
});

test('an answer beyond the limit is an error', async () => {
  const { port, faults } = await startServer(
    { large: method(() => Buffer.alloc(MiB)) },
    { limits: { maxFrameBytes: MiB } },
  );
  const peers = await startPeers(port);
  const { args } = await peers.next(peers.call('large', []));
  expect(args).toMatchObject(['AnswerTooLarge', {}, {}]);
  expect(faults).toEqual([]);
});

test('calls beyond the limits are refused at once', async () => {
  const waiting: ((value: unknown) => void)[] = [];
  const { port } = await startServer(
    { wait: method(() => new Promise((resolve) => waiting.push(resolve))) },
    { limits: { maxCalls: 5, maxCallsPerPeer: 3 } },
  );
  const peers = await startPeers(port);
  for (let n = 0; n < 3; n += 1) peers.call('wait', []);
  const fourth = await peers.next(peers.call('wait', []));
  expect(fourth.args).toMatchObject(['TooManyCalls', {}, {}]);
  for (let n = 0; n < 2; n += 1) peers.call('wait', [], { client: 1 });
  await eventually(() => waiting.length).toBe(5);
  const sixth = await peers.next(peers.call('wait', [], { client: 2 }), 2);
  expect(sixth.args).toMatchObject(['ServerBusy', {}, {}]);
  for (const end of waiting) end(1);
  await eventually(() => isWell(peers, 2)).toBe('OK');
});

test('requests take of the budget until they are answered, and are refused where it ends', async () => {
  let answer = (_value: unknown) => {};
  const { port, budget } = await startServer(
    { wait: method(() => new Promise((resolve) => (answer = resolve))) },
    { limits: { maxQueuedBytesPerPeer: 4 * MiB } },
  );
  const peers = await startPeers(port, 'sizes');
  const first = peers.call('wait', [{ $bytes: (600 * MiB) / 10 }]);
  await eventually(() => budget.held).toBeGreaterThan(60 * MiB);
  answer(1);
  await peers.next(first);
  await eventually(() => budget.held).toBe(0);
  // Short values cost more than their bytes: 300,000 lists.
  peers.call('wait', [{ $times: 300_000, of: [] }]);
  await eventually(() => budget.held).toBeGreaterThan(300_000 * 8);
  answer(1);
  await eventually(() => budget.held).toBe(0);
});

test('where the budget is used up, a call hears so', async () => {
  const full = { take: () => false, give: () => undefined };
  const { port, faults } = await startServer({ echo }, { budget: full });
  const peers = await startPeers(port);
  const { args } = await peers.next(peers.call('echo', [1]));
  expect(args).toMatchObject(['ServerBusy', {}, {}]);
  expect(faults).toEqual([]);
});

test('what speaks no ZeroMQ at all does no harm', async () => {
  const { port } = await startServer({ echo });
  const peers = await startPeers(port);
  for (const words of ['GET / HTTP/1.1\r\n\r\n', '\xff'.repeat(64), '\0'.repeat(10_000)]) {
    const socket = connect(port, '127.0.0.1');
    const ended = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.end(Buffer.from(words, 'latin1'));
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 500))]);
    socket.destroy();
  }
  expect(await isWell(peers)).toBe('OK');
});

/** What a client of ZeroMQ 2 sends: no greeting, its id (none), and a message of two frames. */
function ofOldPeer(body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([1, 0, 1, 1, 1 + body.length, 0]), body]);
}

test('peers of before 2013 are disconnected: a page in a browser could pass for one', async () => {
  let called = 0;
  const count = method(() => (called += 1));
  const { port } = await startServer({ count });
  const message = Buffer.from('9382aa6d6573736167655f6964a178a17603a5636f756e7490', 'hex');
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  const closed = new Promise((resolve) => socket.on('error', resolve).on('close', resolve));
  socket.resume().write(ofOldPeer(message));
  await closed;
  const peers = await startPeers(port);
  expect(await isWell(peers)).toBe('OK');
  expect(called).toBe(0);
});
