import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';

export interface LaneRequest {
  /** Written one after another; each is a packet of its own when `inTurns` is true. */
  pieces: readonly Buffer[];
  inTurns?: boolean;
  method: string;
  /** What the client does when it has written: waits, ends its side, or is gone. */
  then?: 'wait' | 'end' | 'close' | 'reset';
  /** What is sent may be more than one request: what comes behind the answer is not looked at. */
  hasMore?: boolean;
}

export interface LaneAnswer {
  status: number;
  /** Names in lower case; of one that is there twice, both values. */
  headers: Map<string, string>;
  body: Buffer;
}

/** `closed`: without an answer. `held`: none in the given time; the client has gone. */
export type Outcome = LaneAnswer | 'closed' | 'held';

export interface Lane {
  /**
   * Sends a request on the kept-alive connection of this lane (a new one where there is none) and
   * reads its answer. Throws on anything that is no answer of HTTP/1.1, on bytes that nobody asked
   * for, and when a connection that either side has said to end is still open after 5 s.
   */
  exchange(request: LaneRequest, options: { withinMs: number }): Promise<Outcome>;
  /** The head of the request before the last one, where it went over the same connection. */
  earlier: () => string;
  /** The next request goes over another connection. */
  drop(): void;
  close(): Promise<void>;
}

/** A client that may send any bytes, over one connection to 127.0.0.1 at a time. */
export function openLane(port: number): Lane {
  let connection: Connection | undefined;
  const closing = new Set<Promise<void>>();
  let heads: string[] = [];

  const drop = () => {
    // A reset would leave the handle open where an end is under way (Node 20: uv_tcp_close_reset, EINVAL).
    connection?.socket.destroy();
    connection = undefined;
  };

  return {
    drop,
    earlier: () => heads.at(-2) ?? 'nothing',
    async exchange(request, { withinMs }) {
      if (connection === undefined) heads = [];
      connection ??= await openConnection(port);
      heads = [...heads.slice(-1), headOf(request)];
      const { socket } = connection;
      const answered = connection.nextAnswer(request, withinMs);
      answered.catch(() => undefined);
      await write(socket, request);
      const outcome = await answered;
      if (outcome === 'closed' || outcome === 'held' || request.hasMore === true) {
        drop();
      } else if (socket.destroyed) {
        connection = undefined;
      } else if (outcome.headers.get('connection') === 'close' || !socket.writable) {
        // Announced by the server, or by us: a server closes what its client has ended.
        const closes = expectClose(socket);
        closes.catch(() => undefined);
        closing.add(closes);
        void closes.then(() => closing.delete(closes));
        connection = undefined;
      }
      return outcome;
    },
    async close() {
      drop();
      await Promise.all(closing);
    },
  };
}

function headOf({ pieces: [first = Buffer.alloc(0)] }: LaneRequest): string {
  return first.toString('latin1', 0, 600);
}

const closesWithinMs = 5_000;

const interim = 'HTTP/1.1 100 Continue\r\n\r\n';

interface Connection {
  socket: Socket;
  nextAnswer: (request: LaneRequest, withinMs: number) => Promise<Outcome>;
}

async function openConnection(port: number): Promise<Connection> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.on('error', () => undefined);
  let heard: Buffer = Buffer.alloc(0);
  let look: () => void = () => undefined;
  socket.on('data', (bytes) => {
    heard = heard.length === 0 ? bytes : Buffer.concat([heard, bytes]);
    look();
  });
  socket.on('close', () => look());
  socket.on('end', () => look());
  await Promise.race([once(socket, 'connect'), once(socket, 'close')]);

  const nextAnswer = ({ method, hasMore }: LaneRequest, withinMs: number): Promise<Outcome> =>
    new Promise((resolve, reject) => {
      const settle = (end: () => void) => {
        clearTimeout(overdue);
        look = () => undefined;
        end();
      };
      const overdue = setTimeout(() => settle(() => resolve('held')), withinMs);
      look = () => {
        try {
          const over = socket.destroyed || socket.readableEnded;
          const read = readAnswer(heard, method, over);
          if (read !== undefined) {
            heard = heard.subarray(read.length);
            // What could not be parsed may have been a HEAD: the server cannot know.
            const isLast = read.answer.headers.get('connection') === 'close';
            const mayTrail = hasMore === true || (method === 'HEAD' && isLast);
            if (heard.length > 0 && !mayTrail) {
              throw new Error(`unasked: ${heard.toString('latin1')}`);
            }
            settle(() => resolve(read.answer));
          } else if (over) {
            const [cut] = heard.toString('latin1').split(interim).filter(Boolean);
            if (cut !== undefined) throw new Error(`cut: ${cut}`);
            settle(() => resolve('closed'));
          }
        } catch (error) {
          settle(() => reject(error instanceof Error ? error : new Error(String(error))));
        }
      };
      look();
    });
  return { socket, nextAnswer };
}

async function write(socket: Socket, request: LaneRequest): Promise<void> {
  const { pieces, inTurns = false, then = 'wait' } = request;
  if (!inTurns) socket.cork();
  for (const piece of pieces) {
    if (socket.destroyed) return;
    socket.write(piece);
    if (inTurns) await nextTurn();
  }
  if (!inTurns) socket.uncork();
  if (then === 'end') socket.end();
  else if (then === 'close') socket.destroySoon();
  else if (then === 'reset') socket.resetAndDestroy();
}

async function expectClose(socket: Socket): Promise<void> {
  if (socket.destroyed) return;
  const isClosed = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), closesWithinMs);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(true);
    });
  });
  socket.destroy();
  if (!isClosed) throw new Error('a connection was said to end and stays open');
}

/** The first whole answer in `heard`, 1xx skipped; `length`: with them. */
function readAnswer(
  heard: Buffer,
  method: string,
  isOver: boolean,
): { answer: LaneAnswer; length: number } | undefined {
  for (let at = 0; ;) {
    const headEnd = heard.indexOf('\r\n\r\n', at);
    if (headEnd < 0) return undefined;
    const { status, headers } = readHead(heard.toString('latin1', at, headEnd));
    at = headEnd + 4;
    if (status < 200) continue;
    const body = readBody(heard, at, { method, status, headers, isOver });
    return body && { answer: { status, headers, body: body.bytes }, length: body.end };
  }
}

function readHead(head: string): Omit<LaneAnswer, 'body'> {
  const [first = '', ...lines] = head.split('\r\n');
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1]);
  if (!(status >= 100)) throw new Error(`no answer of HTTP/1.1: ${head}`);
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name = '', value = ''] = /^([\w-]+): ?(.*)$/.exec(line) ?? [];
    if (name === '') throw new Error(`no header: ${line}`);
    const earlier = headers.get(name.toLowerCase());
    headers.set(name.toLowerCase(), earlier === undefined ? value : `${earlier}, ${value}`);
  }
  return { status, headers };
}

function readBody(
  heard: Buffer,
  start: number,
  of: { method: string; status: number; headers: Map<string, string>; isOver: boolean },
): { bytes: Buffer; end: number } | undefined {
  const length = of.headers.get('content-length');
  if (of.method === 'HEAD' || of.status === 204 || of.status === 304) {
    return { bytes: Buffer.alloc(0), end: start };
  }
  if (length !== undefined) {
    const end = start + Number(length);
    return heard.length < end ? undefined : { bytes: heard.subarray(start, end), end };
  }
  if (of.headers.get('transfer-encoding') !== 'chunked') {
    return of.isOver ? { bytes: heard.subarray(start), end: heard.length } : undefined;
  }
  const chunks: Buffer[] = [];
  for (let at = start; ;) {
    const lineEnd = heard.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const bytes = parseInt(heard.toString('latin1', at, lineEnd), 16);
    at = lineEnd + 2;
    if (heard.length < at + bytes + 2) return undefined;
    chunks.push(heard.subarray(at, at + bytes));
    at += bytes + 2;
    if (bytes === 0) return { bytes: Buffer.concat(chunks), end: at };
  }
}
