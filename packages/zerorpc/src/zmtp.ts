/**
 * ZMTP 3.0, the protocol of ZeroMQ from its version 4 on, as a ROUTER speaks it without encryption: rfc.zeromq.org/spec/23.
 * (libzmq itself ends the whole process where a rare turn of events breaks one of its assertions, and tells neither
 * addresses nor that a client has gone.)
 */

/** What a peer sent that has no place in the protocol: its connection is cut. */
export class ZmtpError extends Error {}

/** What a connection does with what it reads. */
export interface ZmtpEvents {
  /** It may be spoken to. */
  onReady(): void;
  onMessage(frames: Buffer[]): void;
  /** To be sent at once. */
  reply(command: Buffer): void;
}

const flags = { more: 1, long: 2, command: 4 };
/** Of one message: those before the last lead through proxies, each an id, or empty. More is no message of ours. */
const maxFrames = 10;
const maxIdBytes = 255;
const maxCommandBytes = 1_024;

/** What each side begins with. */
export const greeting = Buffer.concat([
  Buffer.from([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0]),
  Buffer.from('NULL'.padEnd(20 + 32, '\0')),
]);

export const ready = commandOf('READY', propertyOf('Socket-Type', 'ROUTER'));

/**
 * Reads what one peer says, from its greeting on. Yields how many bytes it wants next, and is given exactly those; 0
 * where it is between two messages. Throws a ZmtpError.
 */
export function* readPeer(
  { onReady, onMessage, reply }: ZmtpEvents,
  { maxFrameBytes }: { maxFrameBytes: number },
): Generator<number, void, Buffer> {
  // Asked for by itself: what is no ZeroMQ, and a ZeroMQ of before 2013, is told by it.
  if ((yield 1)[0] !== 0xff) throw new ZmtpError('no ZeroMQ of version 4 or newer');
  const rest = yield greeting.length - 1;
  const major = rest[9] ?? 0;
  if (major < 3) throw new ZmtpError('a ZeroMQ older than version 4');
  if (!rest.subarray(11, 31).equals(greeting.subarray(12, 32))) throw new ZmtpError('a mechanism');

  let frames: Buffer[] = [];
  let isReady = false;
  for (;;) {
    if (frames.length === 0) yield 0;
    const [flag = 0, short = 0] = yield 2;
    const length = (flag & flags.long) === 0 ? short : longLength(short, yield 7);
    const isCommand = (flag & flags.command) !== 0;
    const hasMore = (flag & flags.more) !== 0;
    const most = isCommand ? maxCommandBytes : hasMore ? maxIdBytes : maxFrameBytes;
    if (length > most) throw new ZmtpError('a frame beyond the limit');
    const body = length === 0 ? Buffer.alloc(0) : yield length;
    if (!isReady) {
      if (!isCommand) throw new ZmtpError('a message before READY');
      checkReady(body);
      onReady();
      isReady = true;
    } else if (isCommand) {
      const pong = answerTo(body);
      if (pong !== undefined) reply(pong);
    } else {
      frames.push(body);
      if (frames.length > maxFrames) throw new ZmtpError('a message of many frames');
      if (hasMore) continue;
      const message = frames;
      frames = [];
      onMessage(message);
    }
  }
}

/** A message in pieces to be sent one after the other. */
export function* piecesOf(frames: readonly Buffer[]): Generator<Buffer> {
  for (const [index, frame] of frames.entries()) {
    yield headOf(index < frames.length - 1 ? flags.more : 0, frame.length);
    yield frame;
  }
}

function headOf(flag: number, length: number): Buffer {
  if (length < 256) return Buffer.from([flag, length]);
  const head = Buffer.alloc(9);
  head[0] = flag | flags.long;
  head.writeBigUInt64BE(BigInt(length), 1);
  return head;
}

function longLength(first: number, rest: Buffer): number {
  return Number(Buffer.concat([Buffer.from([first]), rest]).readBigUInt64BE());
}

/** An identity that a peer has chosen leads nowhere: it is known by its connection. */
function checkReady(body: Buffer): void {
  const { name, data } = commandIn(body);
  if (name !== 'READY') throw new ZmtpError('another command than READY');
  for (let at = 0; at < data.length;) {
    const valueAt = at + 1 + (data[at] ?? 0) + 4;
    if (valueAt > data.length) throw new ZmtpError('a property that is cut');
    const key = data.toString('latin1', at + 1, valueAt - 4).toLowerCase();
    at = valueAt + data.readUInt32BE(valueAt - 4);
    if (at > data.length) throw new ZmtpError('a property that is cut');
    const value = data.subarray(valueAt, at);
    const isPeer = key !== 'socket-type' || ['DEALER', 'REQ', 'ROUTER'].includes(String(value));
    if (!isPeer) throw new ZmtpError('a socket of another type');
  }
}

/** A PING (of ZMTP 3.1) is told by its own context that it was heard. */
function answerTo(body: Buffer): Buffer | undefined {
  const { name, data } = commandIn(body);
  return name === 'PING' ? commandOf('PONG', data.subarray(2, 18)) : undefined;
}

function commandIn(body: Buffer): { name: string; data: Buffer } {
  const end = 1 + (body[0] ?? 0);
  return { name: body.toString('latin1', 1, end), data: body.subarray(end) };
}

function commandOf(name: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from([name.length]), Buffer.from(name), data]);
  return Buffer.concat([headOf(flags.command, body.length), body]);
}

function propertyOf(name: string, value: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(value.length);
  return Buffer.concat([Buffer.from([name.length]), Buffer.from(name), length, Buffer.from(value)]);
}
