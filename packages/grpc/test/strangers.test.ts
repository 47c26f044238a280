import { expect, test } from 'vitest';
import { createByteBudget, GrpcError, type CallHead, type Method } from '../src/index.js';
import { echo, exchange, framed, MiB, startServer } from './servers.js';

/** The prefix of a message of 200 MiB. */
const prefix = Buffer.from([0, 0x0c, 0x80, 0, 0]);

/** The call that has come, when it has. */
function caught(method: Method): { method: Method; head: Promise<CallHead> } {
  let came!: (head: CallHead) => void;
  const head = new Promise<CallHead>((resolve) => (came = resolve));
  return { head, method: (one) => (came(one), method(one)) };
}

test('a message takes of the budget what has come of it, and no more', async () => {
  const budget = createByteBudget(300 * MiB);
  const { method, head } = caught(echo);
  const { address } = await startServer({ '/t.T/Echo': method }, { budget });
  const answered = exchange(address, {}, (stream) => {
    stream.write(Buffer.concat([prefix, Buffer.alloc(1_000)]));
  });
  const call = await head;
  await expect.poll(() => budget.held).toBe(1_000);
  call.cut(new GrpcError('ABORTED', 'enough'));
  expect((await answered).grpc).toBe('10');
  await expect.poll(() => budget.held).toBe(0);
});

test('a message is refused where the budget ends', async () => {
  const budget = createByteBudget(MiB);
  const { address } = await startServer({ '/t.T/Echo': echo }, { budget });
  expect(await exchange(address, {}, framed(Buffer.alloc(2 * MiB)))).toMatchObject({ grpc: '8' });
  await expect.poll(() => budget.held).toBe(0);
});

test('who is not let in takes nothing of the budget', async () => {
  const budget = createByteBudget(MiB);
  let refuse!: (error: Error) => void;
  const { method, head } = caught(() => new Promise((_resolve, reject) => (refuse = reject)));
  const { address } = await startServer({ '/t.T/Echo': method }, { budget });
  let roomLeft = () => -1;
  const answered = exchange(address, {}, (stream) => {
    roomLeft = () => stream.session?.state.remoteWindowSize ?? -1;
    stream.write(Buffer.concat([prefix, Buffer.alloc(MiB)]));
  });
  await head;
  // A connection of which nothing was let in yet may send 64 KiB, and not as much as one that is known.
  await expect.poll(() => roomLeft()).toBe(0);
  expect(budget.held).toBe(0);
  refuse(new GrpcError('UNAUTHENTICATED', 'no'));
  expect((await answered).grpc).toBe('16');
});

test('what is open to everybody takes small messages, and needs no budget', async () => {
  const open: Method = () => ({ isOpen: true, unary: async (message) => ({ message: [message] }) });
  const { address } = await startServer(
    { '/t.T/Open': open, '/t.T/Echo': echo },
    { budget: createByteBudget(0) },
  );
  const hello = framed(Buffer.from('hello'));
  expect(await exchange(address, {}, hello)).toMatchObject({ grpc: '8' });
  const path = { ':path': '/t.T/Open' };
  expect(await exchange(address, path, hello)).toMatchObject({ grpc: '0' });
  const larger = framed(Buffer.alloc(5_000));
  expect(await exchange(address, path, larger)).toMatchObject({ grpc: '8' });
});

test('a method can end a call while its message comes, and hears of every end once', async () => {
  let ends = 0;
  const { method, head } = caught(() => ({
    unary: async (message) => ({ message: [message] }),
    end: () => (ends += 1),
  }));
  const { address, faults } = await startServer({ '/t.T/Echo': method });
  const answered = exchange(address, {}, (stream) => stream.write(prefix));
  (await head).cut(new GrpcError('UNAUTHENTICATED', 'no more'));
  expect(await answered).toMatchObject({ grpc: '16', text: 'no more' });
  expect(ends).toBe(1);
  expect(await exchange(address, {}, framed(Buffer.alloc(9)))).toMatchObject({ grpc: '0' });
  expect(await exchange(address, {}, Buffer.from([7]))).toMatchObject({ grpc: '13' });
  expect([ends, faults]).toEqual([3, []]);
});
