import { Readable } from 'node:stream';
import { AppError } from '@inference-server/errors';
import { readPartHead, type PartHead } from './part-head.js';

export interface FormPart extends PartHead {
  isEmpty: boolean;
  /** To its end, or the next part is not come to: what is left of it is skipped. */
  content: Readable;
}

/** All of a form but the content of its parts: preamble, delimiters, heads, epilogue. */
const maxAroundBytes = 256 * 1024;
const maxHeadBytes = 16 * 1024;
const headEnd = Buffer.from('\r\n\r\n');

/**
 * The parts of a form (RFC 7578) one after another, read strictly: whatever two readers could take
 * for two things is refused. Nothing is taken from `message` that was not asked for; whoever stops
 * early finds the rest of the body there. Throws MALFORMED_REQUEST when the form is cut or its
 * delimiters are not to be made out, INVALID_FORM when one of its parts is none.
 */
export async function* readForm(message: Readable, boundary: string): AsyncGenerator<FormPart> {
  const input = takeFrom(message);
  // A line break comes before each delimiter but the first, which may stand at the very beginning.
  const delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1');
  const state = { rest: Buffer.from('\r\n') as Buffer, aroundBytes: 0 };
  try {
    await skipTo(delimiter);
    while (await isPartNext()) {
      const head = readPartHead(await takeHead());
      const source = contentTo(delimiter);
      const isEmpty = state.rest.indexOf(delimiter) === 0;
      const content = Readable.from(source, { objectMode: false });
      // A taker that is gone has heard what it wanted to hear.
      content.on('error', () => undefined);
      yield { ...head, isEmpty, content };
      for await (const left of source) void left;
    }
    await skipEpilogue();
  } finally {
    input.stop();
  }

  async function more(): Promise<void> {
    const chunk = await input.next();
    if (chunk === undefined) throw malformed('it ends too early');
    state.rest = state.rest.length === 0 ? chunk : Buffer.concat([state.rest, chunk]);
  }

  function countAround(bytes: number): void {
    state.aroundBytes += bytes;
    if (state.aroundBytes > maxAroundBytes) {
      throw invalidForm('The form holds too much beside its file.');
    }
  }

  /** Throws all away up to `mark` and with it. */
  async function skipTo(mark: Buffer): Promise<void> {
    for (;;) {
      const at = state.rest.indexOf(mark);
      const skipped = at >= 0 ? at + mark.length : state.rest.length - mark.length + 1;
      if (skipped > 0) {
        countAround(skipped);
        state.rest = state.rest.subarray(skipped);
      }
      if (at >= 0) return;
      await more();
    }
  }

  /** What follows the boundary: the end of its line, or of the form. */
  async function isPartNext(): Promise<boolean> {
    while (state.rest.length < 2) await more();
    const mark = state.rest.toString('latin1', 0, 2);
    if (mark !== '\r\n' && mark !== '--') throw malformed('a boundary stands in another line');
    // The line break is left: it ends an empty head.
    if (mark === '--') state.rest = state.rest.subarray(2);
    return mark === '\r\n';
  }

  /** The lines of a part before its content, each with a line break before it. */
  async function takeHead(): Promise<string> {
    let at = state.rest.indexOf(headEnd);
    for (; at < 0; at = state.rest.indexOf(headEnd)) {
      if (state.rest.length > maxHeadBytes) break;
      await more();
    }
    if (at < 0 || at > maxHeadBytes) throw invalidForm('The form has a part with too long a head.');
    const end = at + headEnd.length;
    // Also one that begins with the line break before the content.
    while (state.rest.length < end + delimiter.length) await more();
    if (state.rest.subarray(0, end + delimiter.length - 2).includes(delimiter)) {
      throw malformed('a boundary stands in the head of a part');
    }
    const head = state.rest.toString('latin1', 0, at);
    state.rest = state.rest.subarray(end);
    countAround(end + delimiter.length);
    return head;
  }

  async function* contentTo(mark: Buffer): AsyncGenerator<Buffer> {
    for (;;) {
      const at = state.rest.indexOf(mark);
      const bytes = at >= 0 ? at : state.rest.length - mark.length + 1;
      const chunk = state.rest.subarray(0, Math.max(bytes, 0));
      state.rest = state.rest.subarray(chunk.length + (at >= 0 ? mark.length : 0));
      if (chunk.length > 0) yield chunk;
      if (at >= 0) return;
      await more();
    }
  }

  async function skipEpilogue(): Promise<void> {
    countAround(state.rest.length);
    for (let chunk = await input.next(); chunk !== undefined; chunk = await input.next()) {
      countAround(chunk.length);
    }
  }
}

/** A body, a chunk at a time and only when asked; listens to it all the while. */
function takeFrom(message: Readable): {
  next: () => Promise<Buffer | undefined>;
  stop: () => void;
} {
  const chunks: Buffer[] = [];
  let ended = message.readableEnded;
  let failure: Error | undefined;
  let wake = (): void => undefined;
  const onData = (chunk: Buffer) => {
    chunks.push(chunk);
    message.pause();
    wake();
  };
  const onEnd = () => {
    ended = true;
    wake();
  };
  const onError = (error: Error) => {
    failure ??= error;
    wake();
  };
  const onClose = () => {
    if (!ended) onError(malformed('it ends too early'));
  };
  message.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose);
  message.pause();

  return {
    async next() {
      for (;;) {
        if (failure !== undefined) throw failure;
        const chunk = chunks.shift();
        if (chunk !== undefined) return chunk;
        if (ended) return undefined;
        if (message.destroyed) throw malformed('it ends too early');
        const woken = new Promise<void>((resolve) => (wake = resolve));
        message.resume();
        await woken;
      }
    },
    stop() {
      message.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose);
      onError(malformed('nobody reads it any more'));
    },
  };
}

function malformed(fault: string): AppError {
  return new AppError('MALFORMED_REQUEST', `The form cannot be read: ${fault}.`);
}

export function invalidForm(detail: string, parameter = 'zip_file', cause?: unknown): AppError {
  return new AppError('INVALID_FORM', detail, { cause, extensions: { parameter } });
}
