import { open } from 'node:fs/promises';
import { StringDecoder } from 'node:string_decoder';
import { setTimeout as sleep } from 'node:timers/promises';

/** One line that a process of ours has logged. */
export interface LogLine {
  time: number;
  level: number;
  /** 0: it is no line of the logger, but a library's own words, or the end of a process. */
  pid: number;
  msg: string;
  [name: string]: unknown;
}

export interface LogTail {
  /** Resolves when everything that is in the file now has been handed on. */
  catchUp(): Promise<void>;
  /** Reads to the end of the file and stops. */
  close(): Promise<void>;
}

const everyMs = 50;

/** Hands on each line that is written to the file from now on; what is no JSON has `msg` alone. */
export function followLog(file: string, onLine: (line: LogLine) => void): LogTail {
  const closing = new AbortController();
  const buffer = Buffer.allocUnsafe(64 * 1024);
  // A character may lie on both sides of the buffer's end.
  const decoder = new StringDecoder('utf8');
  let at = 0;
  let rest = '';

  const readOn = async () => {
    const handle = await open(file).catch(() => undefined);
    if (handle === undefined) return;
    try {
      for (;;) {
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
        if (bytesRead === 0) return;
        at += bytesRead;
        const lines = (rest + decoder.write(buffer.subarray(0, bytesRead))).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) if (line !== '') onLine(lineOf(line));
      }
    } finally {
      await handle.close();
    }
  };
  let reading = Promise.resolve();
  /** One after the other. */
  const read = () => (reading = reading.then(readOn));
  const following = (async () => {
    while (!closing.signal.aborted) {
      await read();
      await sleep(everyMs, undefined, { signal: closing.signal }).catch(() => undefined);
    }
    await read();
  })();
  return {
    catchUp: read,
    async close() {
      closing.abort();
      await following;
    },
  };
}

function lineOf(text: string): LogLine {
  try {
    const line = JSON.parse(text) as LogLine;
    if (typeof line.msg === 'string') return line;
  } catch {
    // See pid 0.
  }
  return { time: Date.now(), level: 30, pid: 0, msg: text };
}
