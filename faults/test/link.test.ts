import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openLink, type Link, type LinkEvent } from '../src/world/link.js';

let echo: Server;
let link: Link;
let events: LinkEvent[];
let sockets: Socket[];

beforeEach(async () => {
  events = [];
  sockets = [];
  echo = await listening();
  link = await openLink(
    'test',
    () => [addressOf(echo)],
    (event) => events.push(event),
  );
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await link.close();
  echo.close();
});

it('passes on what is sent, both ways, and the end of each', async () => {
  const socket = await open();
  const big = Buffer.alloc(4 * 1024 ** 2, 'x');
  socket.end(big);
  expect((await all(socket)).equals(big)).toBe(true);
  expect([link.passed('there'), link.passed('back')]).toEqual([big.length, big.length]);
});

it('takes the next target when one does not answer', async () => {
  const gone = await listening();
  const dead = addressOf(gone);
  gone.close();
  const two = await openLink('two', () => [dead, addressOf(echo)]);
  for (let time = 0; time < 4; time += 1) expect(await ask(await open(two), 'hello')).toBe('hello');
  await two.close();
});

it('cuts what there is, and only that', async () => {
  const socket = await open();
  expect(await ask(socket, 'a')).toBe('a');
  const reset = fault(socket);
  expect(link.cut()).toBe(1);
  expect(await reset).toBe('ECONNRESET');
  expect(events).toMatchObject([{ link: 'test', connection: 1, what: 'cut', there: 1, back: 1 }]);
  expect(await ask(await open(), 'b')).toBe('b');
});

it('refuses until it is healed', async () => {
  link.refuse();
  const refused = connect({ port: link.port, host: '127.0.0.1' });
  sockets.push(refused);
  expect(await fault(refused)).toBe('ECONNRESET');
  expect(link.harms()).toMatchObject({ cut: 0, refused: 1 });
  link.heal();
  expect(await ask(await open(), 'b')).toBe('b');
});

it('holds what is sent until it is healed, and loses nothing of it', async () => {
  const socket = await open();
  expect(await ask(socket, 'a')).toBe('a');
  link.hold();
  const answer = ask(socket, 'b');
  const late = ask(await open(), 'c');
  expect(await Promise.race([answer, late, soon('silent')])).toBe('silent');
  expect(link.harms()).toMatchObject({ cut: 0, held: 2 });
  link.heal();
  expect([await answer, await late]).toEqual(['b', 'c']);
});

it.each(['end', 'resetAndDestroy'] as const)(
  'keeps from one side that the other has gone, until it is healed: %s',
  async (goes) => {
    const [inner] = await Promise.all([once(echo, 'connection'), open()]);
    const socket = sockets[0]!;
    expect(await ask(socket, 'a')).toBe('a');
    link.hold();
    const callee = inner[0] as Socket;
    const heard = new Promise<string>((resolve) => {
      callee.once('end', () => resolve('end'));
      callee.once('error', () => resolve('resetAndDestroy'));
    });
    socket[goes]();
    expect(await Promise.race([heard, soon('nothing')])).toBe('nothing');
    expect(link.harms().held).toBe(1);
    link.heal();
    expect(await heard).toBe(goes);
  },
);

it('loses what it has held, so that both sides learn late that the other has gone', async () => {
  const [inner] = await Promise.all([once(echo, 'connection'), open()]);
  const socket = sockets[0]!;
  expect(await ask(socket, 'a')).toBe('a');
  const got: Buffer[] = [];
  const callee = inner[0] as Socket;
  callee.on('data', (piece: Buffer) => got.push(piece));
  const both = Promise.all([fault(socket), fault(callee)]);
  link.hold();
  socket.write('b');
  expect(await Promise.race([both, soon('silent')])).toBe('silent');
  link.heal('is lost');
  expect(await both).toEqual(['ECONNRESET', 'ECONNRESET']);
  expect(got).toEqual([]);
  expect(link.harms().cut).toBe(1);
  expect(await ask(await open(), 'c')).toBe('c');
});

it('delays what passes, and counts it', async () => {
  link.delay(50);
  expect(await ask(await open(), 'abc')).toBe('abc');
  expect(link.harms().delayed).toBe(6);
});

it('cuts a connection after so many bytes', async () => {
  const hit = link.cutAfter('back', 10);
  const socket = await open();
  const reset = fault(socket);
  const got: Buffer[] = [];
  socket.on('data', (piece: Buffer) => got.push(piece));
  socket.write('0123456789abc');
  expect(await reset).toBe('ECONNRESET');
  expect(await hit).toMatchObject({ what: 'cut', back: 10 });
  expect(Buffer.concat(got).toString()).toBe('0123456789');
  expect(await ask(await open(), '0123456789abc')).toBe('0123456789abc');
});

it.each(['cut', 'forever'] as const)('loses the answer to a text: %s', async (how) => {
  const asked: string[] = [];
  echo.on('connection', (socket: Socket) =>
    socket.on('data', (piece: Buffer) => asked.push(piece.toString())),
  );
  const hit = link.loseAnswerTo('COMMIT', how);
  const socket = await open();
  const reset = fault(socket);
  expect(await ask(socket, 'BEGIN')).toBe('BEGIN');
  expect(await ask(socket, 'COM')).toBe('COM');
  const got: Buffer[] = [];
  socket.on('data', (piece: Buffer) => got.push(piece));
  socket.write('MIT;');
  expect(await hit).toMatchObject({ what: how === 'cut' ? 'cut' : 'held' });
  expect(await Promise.race([reset, soon('open')])).toBe(how === 'cut' ? 'ECONNRESET' : 'open');
  expect(asked.join('')).toBe('BEGINCOMMIT;');
  link.heal();
  expect(await reset).toBe('ECONNRESET');
  expect(got).toEqual([]);
});

it('waits for an answer that it can lose', async () => {
  const deaf = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  await once(deaf, 'listening');
  const other = await openLink('other', () => [addressOf(deaf)]);
  const hit = other.loseAnswerTo('COMMIT');
  const asking = await open(other);
  const answering = await new Promise<Socket>((resolve) => {
    deaf.once('connection', resolve);
    asking.write('COMMIT');
  });
  const reset = fault(asking);
  expect(await Promise.race([hit, reset, soon('neither')])).toBe('neither');
  answering.write('done');
  expect(await hit).toMatchObject({ what: 'cut', back: 0 });
  expect(await reset).toBe('ECONNRESET');
  await other.close();
  deaf.close();
});

async function listening(): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function addressOf(server: Server) {
  return { port: (server.address() as AddressInfo).port, host: '127.0.0.1' };
}

async function open(to: Link = link): Promise<Socket> {
  const socket = connect({ port: to.port, host: '127.0.0.1', noDelay: true });
  socket.on('error', () => undefined);
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

async function ask(socket: Socket, text: string): Promise<string> {
  socket.write(text);
  let answer = '';
  while (answer.length < text.length) {
    const [piece] = (await once(socket, 'data')) as [Buffer];
    answer += piece.toString();
  }
  return answer;
}

async function all(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of socket as AsyncIterable<Buffer>) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function fault(socket: Socket): Promise<string> {
  return await new Promise((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

/** After long enough for what is not held to have come. */
async function soon<T>(value: T): Promise<T> {
  return await new Promise((resolve) => setTimeout(resolve, 200, value));
}
