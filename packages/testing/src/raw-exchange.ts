import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What a client does on its connection, one after another. Text goes out as latin1. */
export type RawStep =
  | string
  | Buffer
  /** Goes on once this has been answered. */
  | { awaiting: RegExp }
  /** Goes on once the test says so. */
  | { until: Promise<unknown> }
  /** The same piece again and again, so often or until the connection is closed. */
  | { drip: string | Buffer; everyMs: number; times?: number }
  /** `end`: closes its writing side; `close`: both; `reset`: with a RST. */
  | { then: 'end' | 'close' | 'reset' };

export interface RawAnswer {
  status: number;
  /** Of a problem body. */
  code: string | undefined;
  /** Whether it says that the connection ends with it. */
  isLast: boolean;
  body: string;
}

/**
 * Does the steps on a new connection to 127.0.0.1 and gives all that was answered until it was closed.
 * After `expected` answers (the 1xx do not count) the client closes its side; what the server says
 * beyond is heard too. Throws when the connection is not closed in time.
 */
export async function rawExchange(
  port: number,
  steps: readonly RawStep[],
  { expected, withinMs = 20_000 }: { expected: number; withinMs?: number },
): Promise<{ answers: RawAnswer[]; heard: string }> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  let heard = '';
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.setEncoding('latin1');
  socket.on('error', () => undefined);
  socket.on('data', (text: string) => {
    heard += text;
    if (expected > 0 && readAnswers(heard).length >= expected) socket.end();
  });
  const overdue = setTimeout(
    () => socket.destroy(new Error(`still open after ${withinMs} ms; heard: ${heard}`)),
    withinMs,
  );
  try {
    for (const step of steps) {
      if (socket.destroyed) break;
      await take(step);
    }
    await closed;
  } finally {
    clearTimeout(overdue);
  }
  if (socket.errored !== null && /^still open/.test(socket.errored.message)) throw socket.errored;
  return { answers: readAnswers(heard), heard };

  async function take(step: RawStep): Promise<void> {
    if (typeof step === 'string' || Buffer.isBuffer(step)) {
      const written = new Promise<void>((resolve) => {
        socket.write(Buffer.from(step as string, 'latin1'), () => resolve());
      });
      await Promise.race([written, closed]);
    } else if ('awaiting' in step) {
      while (!socket.destroyed && !step.awaiting.test(heard)) {
        await Promise.race([new Promise((resolve) => socket.once('data', resolve)), closed]);
      }
    } else if ('until' in step) {
      await Promise.race([step.until, closed]);
    } else if ('drip' in step) {
      const { drip, everyMs, times = Infinity } = step;
      for (let count = 0; count < times && !socket.destroyed; count += 1) {
        socket.write(drip);
        await Promise.race([sleep(everyMs), closed]);
      }
    } else if (step.then === 'end') {
      socket.end();
    } else if (step.then === 'close') {
      socket.destroy();
    } else {
      socket.resetAndDestroy();
    }
  }
}

/** The whole answers in what was heard; a last one that is cut counts as none. */
function readAnswers(heard: string): RawAnswer[] {
  const answers: RawAnswer[] = [];
  let rest = heard;
  for (;;) {
    const [head, after] = splitOnce(rest, '\r\n\r\n');
    if (after === undefined) return answers;
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1]);
    if (!(status >= 100)) throw new Error(`no answer of HTTP/1.1: ${head}`);
    const body = status < 200 ? { text: '', rest: after } : readBody(head, after);
    if (body === undefined) return answers;
    rest = body.rest;
    if (status < 200) continue;
    const isLast = /^connection: close$/im.test(head);
    answers.push({ status, code: codeOf(head, body.text), isLast, body: body.text });
  }
}

function readBody(head: string, after: string): { text: string; rest: string } | undefined {
  const length = /^content-length: (\d+)$/im.exec(head)?.[1];
  if (length !== undefined) {
    if (after.length < Number(length)) return undefined;
    return { text: after.slice(0, Number(length)), rest: after.slice(Number(length)) };
  }
  let text = '';
  for (let rest = after; ;) {
    const [size, data] = splitOnce(rest, '\r\n');
    if (data === undefined) return undefined;
    const bytes = parseInt(size, 16);
    if (data.length < bytes + 2) return undefined;
    text += data.slice(0, bytes);
    rest = data.slice(bytes + 2);
    if (bytes === 0) return { text, rest };
  }
}

/** The code of a problem body, which must be one when its type says so. */
function codeOf(head: string, body: string): string | undefined {
  if (!/^content-type: application\/problem\+json/im.test(head)) return undefined;
  const { code } = JSON.parse(body) as { code: string };
  return code;
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + separator.length)];
}
