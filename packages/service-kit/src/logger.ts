import { writeSync } from 'node:fs';
import { pino, type Logger } from 'pino';
import { systemCode } from '@inference-server/errors';

import { openLogFiles, type LogFiles } from './log-files.js';

export type { Logger } from 'pino';

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/**
 * One JSON line an event on standard output, and in `files`; credentials are never written. A line that cannot be written
 * (a file on a full disk) is lost, and nothing else.
 */
export function createLogger(app: string, level: string, files?: LogFiles): Logger {
  const options = {
    name: app,
    level,
    redact: {
      paths: [
        'authorization',
        '*.authorization',
        'headers.authorization',
        'req.headers.authorization',
        'req.headers["x-token"]',
        'req.headers.cookie',
        'token',
        '*.token',
        'password',
        '*.password',
      ],
      censor: '[redacted]',
    },
  };
  if (files === undefined) return pino(options, standardOutput);
  const kept = openLogFiles(app, files);
  return pino(options, {
    write(line: string) {
      kept.write(line);
      standardOutput.write(line);
    },
  });
}

/**
 * In place of pino's own, which ends the process at the first error, and on a full disk does not let it end
 * (sonic-boom 4 tries for ever to write what is left).
 */
const standardOutput = {
  /** The last line is half written. */
  isCut: false,
  /** Nobody read for a whole second: who comes next does not wait for it again. */
  isStalled: false,

  write(line: string): void {
    const bytes = Buffer.from(this.isCut ? `\n${line}` : line);
    let triesLeft = this.isStalled ? 0 : 100;
    for (let at = 0; at < bytes.length;) {
      try {
        at += writeSync(1, bytes, at);
        this.isStalled = false;
        this.isCut = at < bytes.length;
      } catch (error) {
        const isFull = systemCode(error) === 'EAGAIN';
        this.isStalled = isFull && triesLeft === 0;
        if (!isFull || triesLeft === 0) return;
        triesLeft -= 1;
        // A pipe that is full: its reader is given a second in all.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
      }
    }
  },
};
