import { once } from 'node:events';
import {
  connect,
  createServer,
  type AddressInfo,
  type NetConnectOpts,
  type Socket,
} from 'node:net';

/** `there`: from whoever connects to what it asks; `back`: the answers. */
export type Direction = 'there' | 'back';

/** What happened to a connection of a link, for the run's log. */
export interface LinkEvent {
  link: string;
  /** Counts the connections of the link from 1. */
  connection: number;
  what: 'cut' | 'refused' | 'held';
  /** Bytes that had passed. */
  there: number;
  back: number;
}

/** What a link has done to those who use it, since it was opened. */
export interface Harms {
  /** Connections that it has reset, or not taken. */
  cut: number;
  refused: number;
  /** Pieces, ends and resets that it has kept back while nothing was to pass. */
  held: number;
  /** Bytes that it has kept back for a while. */
  delayed: number;
}

/**
 * A way between two parts of the server, on a port of 127.0.0.1, that can be harmed: every byte goes
 * through this process. Faults last until `heal`, but for cuts, which are done when they are done.
 */
export interface Link {
  readonly name: string;
  readonly port: number;
  /** How many connections there are now. */
  count(): number;
  /** How many bytes of all connections have passed so far. */
  passed(direction: Direction): number;
  /** What has come of its faults so far: it was harmed when this grows. */
  harms(): Harms;
  /** Resets every connection. Answers how many there were. */
  cut(): number;
  /** Resets every connection and each new one. */
  refuse(): void;
  /**
   * Passes nothing on, no end and no reset either, and says so to nobody: connections stay open, new
   * ones are taken too.
   */
  hold(): void;
  /** Keeps every piece back for so long. */
  delay(ms: number): void;
  /**
   * Resets the first connection of which this many more bytes have gone in the direction, counted from
   * when something like `since` was asked on it. Resolves when that has happened.
   */
  cutAfter(direction: Direction, bytes: number, since?: RegExp): Promise<LinkEvent>;
  /**
   * Passes on what is asked until it has the text in it, waits until that is answered, and resets the
   * connection before anything of the answer comes back; `forever` leaves it open and silent instead.
   * Resolves when that has happened: at once when there is an answer to lose.
   */
  loseAnswerTo(text: string, how?: 'cut' | 'forever'): Promise<LinkEvent>;
  /**
   * Ends every fault. What was held goes on its way, or is lost: then every connection that was held is
   * reset, so that each of its sides learns late that the other has gone.
   */
  heal(held?: 'goes on' | 'is lost'): void;
  close(): Promise<void>;
}

/** The targets are tried in turn, so that several processes can stand behind one link. */
export async function openLink(
  name: string,
  targets: () => readonly NetConnectOpts[],
  onEvent: (event: LinkEvent) => void = () => undefined,
): Promise<Link> {
  const connections = new Set<Connection>();
  const ambushes = new Set<Ambush>();
  let mode: 'open' | 'refuse' | 'hold' = 'open';
  let delayMs = 0;
  let opened = 0;
  let turn = 0;
  const total = { there: 0, back: 0 };
  const harms: Harms = { cut: 0, refused: 0, held: 0, delayed: 0 };
  let wake: (() => void)[] = [];

  const tell = (connection: Connection, what: LinkEvent['what']): LinkEvent => {
    const { number, passed } = connection;
    const event = { link: name, connection: number, what, ...passed };
    onEvent(event);
    return event;
  };
  const count = (connection: Connection, direction: Direction, bytes: number) => {
    connection.passed[direction] += bytes;
    total[direction] += bytes;
  };
  const goOn = () => {
    const waiting = wake;
    wake = [];
    for (const resolve of waiting) resolve();
  };
  const somethingNew = () => new Promise<void>((resolve) => wake.push(resolve));
  const reset = (connection: Connection) => {
    connection.isOver = true;
    drop(connection.caller);
    if (connection.callee !== undefined) drop(connection.callee);
    goOn();
  };
  const cutOff = (connection: Connection): LinkEvent => {
    harms.cut += 1;
    const event = tell(connection, 'cut');
    reset(connection);
    return event;
  };

  /** Resolves when something may pass; false: its connection is over. */
  const untilOpen = async (connection: Connection): Promise<boolean> => {
    const isShut = () => !connection.isOver && (mode === 'hold' || connection.isSilent);
    if (isShut()) harms.held += 1;
    while (isShut()) await somethingNew();
    return !connection.isOver;
  };

  /** The same for a piece. */
  const admit = async (connection: Connection, direction: Direction, piece: Buffer) => {
    if (delayMs > 0) {
      harms.delayed += piece.length;
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
    if (connection.isSilent && direction === 'back') {
      connection.isAnswered = true;
      goOn();
    }
    if (!(await untilOpen(connection))) return false;
    for (const ambush of ambushes) {
      const rest = ambush.passes(connection, direction, piece);
      if (rest === undefined) continue;
      ambushes.delete(ambush);
      if (rest.length > 0) connection[direction === 'there' ? 'callee' : 'caller']?.write(rest);
      count(connection, direction, rest.length);
      await spring(ambush, connection);
      return false;
    }
    count(connection, direction, piece.length);
    return true;
  };

  const spring = async ({ how, hit }: Ambush, connection: Connection): Promise<void> => {
    if (how === 'cut') {
      // What has been passed on must arrive before its connection is reset.
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (!connection.isOver) hit(cutOff(connection));
      return;
    }
    connection.isSilent = true;
    while (!connection.isOver && !connection.isAnswered) await somethingNew();
    if (connection.isOver) return;
    if (how === 'lose the answer') hit(cutOff(connection));
    else hit(tell(connection, 'held'));
    await untilOpen(connection);
  };

  const forward = async (
    connection: Connection,
    direction: Direction,
    from: Socket,
    to: Socket,
  ) => {
    // The other direction may go on when this one has ended.
    const pieces = from.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    for await (const piece of pieces) {
      if (!(await admit(connection, direction, piece))) return;
      if (!to.write(piece)) await drained(to);
    }
    if (await untilOpen(connection)) to.end();
  };

  const serve = async (caller: Socket): Promise<void> => {
    const connection: Connection = {
      caller,
      callee: undefined,
      number: (opened += 1),
      isSilent: false,
      isAnswered: false,
      isOver: false,
      passed: { there: 0, back: 0 },
    };
    connections.add(connection);
    caller.on('error', () => undefined);
    try {
      if (mode === 'refuse') {
        harms.refused += 1;
        tell(connection, 'refused');
        reset(connection);
        return;
      }
      const callee = await reach(targets(), turn++);
      connection.callee = callee;
      callee.on('error', () => undefined);
      await Promise.all([
        forward(connection, 'there', caller, callee),
        forward(connection, 'back', callee, caller),
      ]);
    } catch {
      // One side has reset it: the other does not hear of that while nothing passes.
      await untilOpen(connection);
      reset(connection);
    } finally {
      connections.delete(connection);
    }
  };

  const server = createServer(
    { allowHalfOpen: true, noDelay: true },
    (caller) => void serve(caller),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    const there = [...connections].filter(({ isOver }) => !isOver);
    for (const connection of there) cutOff(connection);
    return there.length;
  };
  const lieInWait = (ambush: Omit<Ambush, 'hit'>) =>
    new Promise<LinkEvent>((hit) => ambushes.add({ ...ambush, hit }));

  return {
    name,
    port: (server.address() as AddressInfo).port,
    count: () => connections.size,
    passed: (direction) => total[direction],
    harms: () => ({ ...harms }),
    cut,
    refuse() {
      mode = 'refuse';
      cut();
    },
    hold() {
      mode = 'hold';
      for (const connection of connections) tell(connection, 'held');
    },
    delay(ms) {
      delayMs = ms;
    },
    cutAfter(direction, bytes, since) {
      const left = new WeakMap<Connection, number>();
      const isCounted = new WeakMap<Connection, boolean>();
      return lieInWait({
        how: 'cut',
        passes(connection, way, piece) {
          if (way === 'there' && since !== undefined && beginsRequest(piece)) {
            isCounted.set(connection, since.test(piece.toString('latin1')));
            left.delete(connection);
          }
          if (way !== direction) return undefined;
          if (since !== undefined && isCounted.get(connection) !== true) return undefined;
          const before = left.get(connection) ?? bytes;
          left.set(connection, before - piece.length);
          return piece.length < before ? undefined : piece.subarray(0, before);
        },
      });
    },
    loseAnswerTo(text, how = 'cut') {
      const seen = new WeakMap<Connection, string>();
      return lieInWait({
        how: how === 'cut' ? 'lose the answer' : 'never answer',
        passes(connection, way, piece) {
          if (way !== 'there') return undefined;
          const known = (seen.get(connection) ?? '') + piece.toString('latin1');
          seen.set(connection, known.slice(-text.length));
          return known.includes(text) ? piece : undefined;
        },
      });
    },
    heal(held = 'goes on') {
      if (mode === 'hold' && held === 'is lost') cut();
      mode = 'open';
      delayMs = 0;
      ambushes.clear();
      for (const connection of connections) if (connection.isSilent) reset(connection);
      goOn();
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const connection of connections) reset(connection);
      goOn();
      await closed;
    },
  };
}

/** Heads come at the beginning of a piece: nobody here sends a request before the last one is answered. */
function beginsRequest(piece: Buffer): boolean {
  return /^(GET|POST|PUT|DELETE) /.test(piece.toString('latin1', 0, 8));
}

interface Connection {
  readonly caller: Socket;
  callee: Socket | undefined;
  readonly number: number;
  /** Nothing passes any more, and nobody is told. */
  isSilent: boolean;
  /** Since it is silent something has come back. */
  isAnswered: boolean;
  /** It was reset. */
  isOver: boolean;
  readonly passed: Record<Direction, number>;
}

interface Ambush {
  how: 'cut' | 'lose the answer' | 'never answer';
  /** Of the piece that springs it what is still passed on. */
  passes(connection: Connection, direction: Direction, piece: Buffer): Buffer | undefined;
  hit(event: LinkEvent): void;
}

/** A socket of the file system has no reset, and Node fails to reset one whose end is under way. */
function drop(socket: Socket): void {
  if (socket.remoteFamily === undefined || socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/** Or closed. */
async function drained(socket: Socket): Promise<void> {
  if (socket.destroyed) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    socket.on('drain', done).on('close', done);
  });
}

/** The first of the targets that can be reached, beginning with another one each time. */
async function reach(targets: readonly NetConnectOpts[], turn: number): Promise<Socket> {
  let failure: unknown = new Error('There is nothing behind the link.');
  for (let at = 0; at < targets.length; at += 1) {
    const target = targets[(turn + at) % targets.length];
    if (target === undefined) continue;
    const socket = connect({ ...target, allowHalfOpen: true, noDelay: true } as NetConnectOpts);
    try {
      await once(socket, 'connect', { signal: AbortSignal.timeout(5_000) });
      return socket;
    } catch (error) {
      socket.destroy();
      failure = error;
    }
  }
  throw failure;
}
