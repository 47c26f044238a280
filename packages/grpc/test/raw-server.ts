import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, onTestFinished } from 'vitest';

/** A frame as a test writes it: RFC 9113, section 4.1. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer | number[] = [],
) {
  const bytes = Buffer.from(payload);
  const head = Buffer.alloc(9);
  head.writeUIntBE(bytes.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, bytes]);
}

export const settings = (...pairs: [id: number, value: number][]) => {
  const payload = Buffer.alloc(6 * pairs.length);
  pairs.forEach(([id, value], n) => {
    payload.writeUInt16BE(id, 6 * n);
    payload.writeUInt32BE(value, 6 * n + 2);
  });
  return frame(4, 0, 0, payload);
};

/** `name: value`, without an index. */
export function literal(name: string, value: string): Buffer {
  return Buffer.concat(
    [Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)], // prettier-ignore
  );
}
export const ok = Buffer.concat([Buffer.from([0x88]), literal('content-type', 'application/grpc')]);
export const statusOf = (code: number) => literal('grpc-status', String(code));
/** A whole answer: an empty message, and OK. */
export const answer = (stream: number) => [
  frame(1, 4, stream, ok),
  frame(0, 0, stream, Buffer.alloc(5)),
  frame(1, 5, stream, statusOf(0)),
];

export interface Seen {
  type: number;
  flags: number;
  stream: number;
  payload: Buffer;
}

/** A peer that says what the test has it say, with what came of frames. */
export interface RawPeer {
  socket: Socket;
  seen: Seen[];
  send(...frames: Buffer[]): void;
}

/** A server that speaks in bytes. `onFrame` is called with each frame that comes; SETTINGS are not sent by itself. */
export async function rawServer(
  onFrame: (frame: Seen, peer: RawPeer) => void,
  onConnection: (peer: RawPeer) => void = (peer) => peer.send(settings()),
): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    const peer: RawPeer = {
      ...{ socket, seen: [] },
      send: (...frames) => void socket.write(Buffer.concat(frames)),
    };
    let bytes = Buffer.alloc(0);
    let skipped = 24;
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      // The preface is no frame.
      if (bytes.length < skipped) return;
      bytes = bytes.subarray(skipped);
      skipped = 0;
      for (;;) {
        const length = bytes.length < 9 ? Infinity : bytes.readUIntBE(0, 3);
        if (bytes.length < 9 + length) return;
        const one = {
          ...{ type: bytes.readUInt8(3), flags: bytes.readUInt8(4) },
          ...{ stream: bytes.readUInt32BE(5), payload: bytes.subarray(9, 9 + length) },
        };
        bytes = bytes.subarray(9 + length);
        peer.seen.push(one);
        onFrame(one, peer);
      }
    });
    onConnection(peer);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export const call = (bytes = 5) => ({
  path: '/t.T/Any',
  message: [Buffer.alloc(bytes, 7)],
  maxAnswerBytes: 8 * 1024 ** 2,
});
export const isBegun = ({ type }: Seen) => type === 1;
export const isEnd = ({ type, flags }: Seen) => type === 0 && flags === 1;
export const errorOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => expect.fail('it was answered'),
    (error: unknown) => error,
  );

/** A server that says this to every call, once it is there whole. */
export const sayer = (frames: (stream: number) => Buffer[]) =>
  rawServer((one, peer) => {
    if (isEnd(one)) peer.send(...frames(one.stream));
  });
