import { connect } from 'node:net';
import { PeerError } from '../grpc-error.js';
import {
  beginFrame,
  contentOfFrame,
  createFrameReader,
  flags,
  frameOfNumbers,
  frameTypes,
  headBytes,
  type Frame,
} from './frames.js';
import { createHeaderBlocks } from './header-blocks.js';
import { keepNothing, type Headers } from './hpack.js';
import { errorCodes, Http2Error } from './http2-error.js';
import { createIncoming, type Incoming } from './incoming.js';
import { createPeerSettings, ownSettings } from './settings.js';
import { createSender, type Outgoing } from './sender.js';

/** What is heard of a request. After `end` or `lost` comes nothing more. */
export interface StreamListener {
  /** Of a response, or behind its data. */
  headers(headers: Headers): void;
  /** False: no more is wanted before `resume`. */
  data(chunk: Buffer): boolean;
  /** The peer has said all. */
  end(): void;
  lost(error: PeerError): void;
}

export interface ClientStream {
  /** More data is wanted. */
  resume(): void;
  /** Nothing more is, nor is the listener told anything. */
  cancel(): void;
}

/** One connection to a peer, without TLS, by HTTP/2 (RFC 9113) from the first byte on. */
export interface ClientSession {
  /** Requests that are under way on it. */
  readonly streams: number;
  isConnected(): boolean;
  /** Whether it takes another request. */
  isUsable(): boolean;
  /** Whether that one goes out at once. */
  hasRoom(): boolean;
  /**
   * `headers` is a block. The body goes out in this order; nothing of it is copied unless it is small. Throws PeerError
   * of a session that is not usable.
   */
  request(headers: Buffer, body: readonly Buffer[], listener: StreamListener): ClientStream;
  destroy(error?: Error): void;
}

interface Stream extends ClientStream {
  /** 0: it waits until the peer takes another. */
  id: number;
  headers: Buffer;
  outgoing: Outgoing;
  listener: StreamListener;
  incoming: Incoming;
  /** Blocks of headers that came for it. */
  blocks: number;
}

/** What a peer may send ahead of what is read, of all answers together. */
const sessionWindowBytes = 16 * 1024 ** 2;
const usualWindowBytes = 65_535;
/** A silent peer is looked for by the system, which needs no permission of it. */
const keepAliveMs = 10_000;
/** Of what the peer makes us answer, as to its pings, while it reads nothing. */
const maxUnreadBytes = 1024 ** 2;
/** Those of one response: beside its own and those behind its data, what is said before it. */
const maxBlocks = 16;
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const lastStreamId = 2 ** 31 - 1;

export function openClientSession(
  address: { host: string; port: number },
  { connectTimeoutMs, onClosed }: { connectTimeoutMs: number; onClosed: () => void },
): ClientSession {
  /** Those that have an id, by it. */
  const open = new Map<number, Stream>();
  const waiting = new Set<Stream>();
  const blocks = createHeaderBlocks();
  const peer = createPeerSettings();
  let nextId = 1;
  let isConnected = false;
  let isEnding = false;
  let hasSettings = false;
  let sessionWindow = sessionWindowBytes;
  let sessionTaken = 0;
  let unreadBytes = 0;
  let cause: Error | undefined;

  const socket = connect({
    ...{ ...address, noDelay: true },
    ...{ keepAlive: true, keepAliveInitialDelay: keepAliveMs },
  });
  const sender = createSender(socket, peer);
  const read = createFrameReader({ take, takeData });
  const overdue = setTimeout(
    () => destroy(new Error(`no connection within ${connectTimeoutMs} ms`)),
    connectTimeoutMs,
  );

  sender.write(Buffer.from(preface, 'latin1'));
  sender.write(ownSettings());
  sender.write(frameOfNumbers(frameTypes.WINDOW_UPDATE, 0, sessionWindowBytes - usualWindowBytes));
  socket.once('connect', () => {
    isConnected = true;
    clearTimeout(overdue);
  });
  socket.on('drain', () => {
    unreadBytes = 0;
    admit();
    sender.pump();
  });
  socket.on('error', (error) => {
    cause ??= error;
  });
  socket.on('data', (chunk) => {
    try {
      read(chunk);
    } catch (error) {
      sendAway(error as Error);
    }
  });
  socket.once('end', () => socket.destroy());
  socket.once('close', () => {
    clearTimeout(overdue);
    isEnding = true;
    sender.close();
    onClosed();
    const text = cause === undefined ? 'the peer closed the connection' : whyLost(cause);
    loseWaiting(text);
    for (const stream of open.values()) lose(stream, text, !isConnected);
  });

  /** Of what is broken the peer is told, who may have a log. */
  function sendAway(error: Error): void {
    const code = error instanceof Http2Error ? errorCodes[error.code] : errorCodes.NO_ERROR;
    sender.write(frameOfNumbers(frameTypes.GOAWAY, 0, 0, code));
    sender.flush();
    destroy(error);
  }

  function destroy(error?: Error): void {
    cause ??= error;
    isEnding = true;
    socket.destroy();
  }

  /** Who has begun to answer has taken it, whatever it says. */
  function lose(stream: Stream, text: string, neverTaken: boolean): void {
    leave(stream);
    stream.incoming.drop();
    const isUnheard = stream.blocks === 0;
    stream.listener.lost(new PeerError(text, { neverTaken: neverTaken && isUnheard, cause }));
  }

  function loseWaiting(text: string): void {
    for (const stream of waiting) lose(stream, text, true);
  }

  /** Nothing more goes out of it, nor is anything more heard; what has come may still be read. */
  function leave(stream: Stream): void {
    open.delete(stream.id);
    waiting.delete(stream);
    sender.drop(stream.outgoing);
    admit();
    if (isEnding && open.size === 0) socket.destroy();
  }

  /** Lets those go out that have waited, as far as the peer takes more. */
  function admit(): void {
    for (const stream of waiting) {
      if (isEnding || open.size >= peer.maxStreams() || !sender.isFree()) return;
      waiting.delete(stream);
      begin(stream);
    }
  }

  function begin(stream: Stream): void {
    stream.id = nextId;
    nextId += 2;
    open.set(stream.id, stream);
    const { headers } = stream;
    const block = peer.takesTableSize() ? Buffer.concat([keepNothing, headers]) : headers;
    sender.begin(stream.id, block, stream.outgoing);
    if (nextId <= lastStreamId) return;
    // Of ids there are no more: others take another connection.
    isEnding = true;
    loseWaiting('the connection is about to end');
  }

  const takers: Readonly<Record<number, (frame: Frame) => void>> = {
    [frameTypes.DATA]: takePaddedData,
    [frameTypes.HEADERS]: takeHeaders,
    [frameTypes.CONTINUATION]: takeHeaders,
    [frameTypes.RST_STREAM]: takeReset,
    [frameTypes.SETTINGS]: takeSettings,
    [frameTypes.PUSH_PROMISE]() {
      throw new Http2Error('PROTOCOL_ERROR', 'the peer promises what nobody asked for');
    },
    [frameTypes.PING]({ flags: flagsOf, payload }) {
      requireLength(payload.length === 8);
      if ((flagsOf & flags.ACK) === 0) answer(frameTypes.PING, payload);
    },
    [frameTypes.GOAWAY]: takeGoaway,
    [frameTypes.WINDOW_UPDATE]: takeWindow,
  };

  /** What has no taker is a priority, or of later days. */
  function take(frame: Frame): void {
    requireOrder(frame.type);
    takers[frame.type]?.(frame);
  }

  function requireOrder(type: number): void {
    if (!hasSettings && type !== frameTypes.SETTINGS) {
      throw new Http2Error('PROTOCOL_ERROR', 'the peer speaks no HTTP/2');
    }
    if (blocks.isWithin() && type !== frameTypes.CONTINUATION) {
      throw new Http2Error('PROTOCOL_ERROR', 'headers of the peer have no end');
    }
  }

  function answer(type: number, payload: Buffer): void {
    if (socket.writableLength === 0) unreadBytes = 0;
    unreadBytes += headBytes + payload.length;
    if (unreadBytes > maxUnreadBytes) {
      throw new Http2Error('ENHANCE_YOUR_CALM', 'the peer asks and does not read');
    }
    const frame = beginFrame(type, flags.ACK, 0, payload.length, payload.length);
    payload.copy(frame, headBytes);
    sender.write(frame);
  }

  function takeSettings({ flags: flagsOf, streamId, payload }: Frame): void {
    if (streamId !== 0) throw new Http2Error('PROTOCOL_ERROR', 'settings are of no stream');
    hasSettings = true;
    const isAnswer = (flagsOf & flags.ACK) !== 0;
    requireLength(isAnswer ? payload.length === 0 : payload.length % 6 === 0);
    if (isAnswer) return;
    const windowsGrow = peer.apply(payload);
    for (const { outgoing } of open.values()) sender.grow(outgoing, windowsGrow);
    answer(frameTypes.SETTINGS, Buffer.alloc(0));
    admit();
    sender.pump();
  }

  function takeWindow({ streamId, payload }: Frame): void {
    requireLength(payload.length === 4);
    const bytes = payload.readUInt32BE() & 0x7fff_ffff;
    if (bytes === 0) throw new Http2Error('PROTOCOL_ERROR', 'the peer grants room for nothing');
    if (streamId === 0) sender.growSession(bytes);
    else {
      const stream = open.get(known(streamId));
      if (stream !== undefined) sender.grow(stream.outgoing, bytes);
    }
    sender.pump();
  }

  function takeGoaway({ payload }: Frame): void {
    requireLength(payload.length >= 8);
    const lastTaken = payload.readUInt32BE() & 0x7fff_ffff;
    const code = payload.readUInt32BE(4);
    isEnding = true;
    if (code !== errorCodes.NO_ERROR) cause ??= new Error(`the peer sent away: ${code}`);
    const text = cause === undefined ? 'the peer is about to end' : whyLost(cause);
    loseWaiting(text);
    for (const stream of open.values()) if (stream.id > lastTaken) lose(stream, text, true);
    // Who sends away for a reason answers no more.
    if (open.size === 0 || code !== errorCodes.NO_ERROR) socket.destroy();
  }

  function takeReset({ streamId, payload }: Frame): void {
    requireLength(payload.length === 4);
    const code = payload.readUInt32BE();
    const stream = open.get(known(streamId));
    if (stream === undefined) return;
    const neverTaken = code === errorCodes.REFUSED_STREAM;
    lose(stream, `the peer ended the call with ${code}`, neverTaken);
  }

  function takeHeaders(frame: Frame): void {
    known(frame.streamId);
    const block = blocks.take(frame);
    const stream = block && open.get(block.streamId);
    if (block === undefined || stream === undefined) return;
    stream.blocks += 1;
    if (stream.blocks > maxBlocks) {
      throw new Http2Error('ENHANCE_YOUR_CALM', 'the peer sends too many headers');
    }
    if (!block.isSound) {
      reset(stream, errorCodes.PROTOCOL_ERROR);
      lose(stream, 'headers of the peer are out of form', false);
      return;
    }
    stream.listener.headers(block.headers);
    if (block.isEnd) endOf(stream);
  }

  function takePaddedData(frame: Frame): void {
    const content = contentOfFrame(frame);
    const padding = frame.payload.length - content.length;
    takeRoom(known(frame.streamId), padding)?.incoming.skip(padding);
    takeData(frame.streamId, content, (frame.flags & flags.END_STREAM) !== 0);
  }

  function takeData(streamId: number, piece: Buffer, isEnd: boolean): void {
    requireOrder(frameTypes.DATA);
    const stream = takeRoom(known(streamId), piece.length);
    if (stream === undefined) return;
    stream.incoming.take(piece);
    if (isEnd) endOf(stream);
  }

  /** Counts bytes that came, and grants as many again: of all requests at once, of one as it reads. */
  function takeRoom(streamId: number, bytes: number): Stream | undefined {
    sessionWindow -= bytes;
    sessionTaken += bytes;
    if (sessionTaken >= sessionWindowBytes / 2) {
      sender.write(frameOfNumbers(frameTypes.WINDOW_UPDATE, 0, sessionTaken));
      [sessionWindow, sessionTaken] = [sessionWindow + sessionTaken, 0];
    }
    const stream = open.get(streamId);
    if (sessionWindow < 0) {
      throw new Http2Error('FLOW_CONTROL_ERROR', 'the peer sends more than it may');
    }
    stream?.incoming.count(bytes);
    return stream;
  }

  /** The peer has said all, and wants to hear no more. Whatever becomes of it, what it said holds. */
  function endOf(stream: Stream): void {
    if (!open.has(stream.id)) return;
    if (sender.isUnsent(stream.outgoing)) reset(stream, errorCodes.CANCEL);
    leave(stream);
    stream.incoming.end();
  }

  function reset(stream: Stream, code: number): void {
    sender.write(frameOfNumbers(frameTypes.RST_STREAM, stream.id, code));
  }

  function known(streamId: number): number {
    if (streamId % 2 === 1 && streamId < nextId) return streamId;
    throw new Http2Error('PROTOCOL_ERROR', 'the peer answers what nobody asked');
  }

  return {
    get streams() {
      return open.size + waiting.size;
    },
    isConnected: () => isConnected,
    isUsable: () => !isEnding && !socket.destroyed,
    hasRoom: () => open.size + waiting.size < peer.expectedStreams(),
    destroy,
    request(headers, body, listener) {
      if (isEnding) throw new PeerError('the connection is about to end', { neverTaken: true });
      const incoming = createIncoming({
        data: (piece) => listener.data(piece),
        grant: (bytes) => {
          sender.write(frameOfNumbers(frameTypes.WINDOW_UPDATE, stream.id, bytes));
        },
        onEnd: () => listener.end(),
      });
      const stream: Stream = {
        ...{ id: 0, headers, listener, incoming, outgoing: sender.outgoing(body), blocks: 0 },
        resume: () => incoming.resume(),
        cancel() {
          if (open.has(stream.id)) reset(stream, errorCodes.CANCEL);
          leave(stream);
          incoming.drop();
        },
      };
      waiting.add(stream);
      admit();
      return stream;
    },
  };
}

function requireLength(isRight: boolean): void {
  if (!isRight) throw new Http2Error('FRAME_SIZE_ERROR', 'a frame of the peer is out of form');
}

function whyLost(error: Error): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && !error.message.includes(code)
    ? `${error.message} (${code})`
    : error.message;
}
