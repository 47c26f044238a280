import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { resolve } from 'node:path';
import Type, { type Static } from 'typebox';
import { messageOf, systemCode } from '@inference-server/errors';

/** The settings of an app's log files, to be spread into its own. */
export const LogFileSettings = {
  /** A folder for the logs, beside standard output. Unset: none. */
  LOG_DIR: Type.Optional(Type.String()),
  LOG_FILE_MAX_BYTES: Type.Integer({
    default: 10 * 1024 ** 2,
    minimum: 64 * 1024,
    maximum: 2 ** 40,
  }),
  /** With the one that is written. */
  LOG_FILES: Type.Integer({ default: 5, minimum: 1, maximum: 1000 }),
};
type Settings = Static<ReturnType<typeof Type.Object<typeof LogFileSettings>>>;

export interface LogFiles {
  folder: string;
  maxBytes: number;
  /** How many there are at most. */
  count: number;
}

/** Undefined where no folder is set. */
export function logFilesOf(settings: Settings): LogFiles | undefined {
  const { LOG_DIR, LOG_FILE_MAX_BYTES: maxBytes, LOG_FILES: count } = settings;
  return LOG_DIR === undefined ? undefined : { folder: resolve(LOG_DIR), maxBytes, count };
}

/** How long no line is tried after one could not be written (ms). */
const pauseMs = 1_000;

/**
 * Lines in `<folder>/<app>.log`; one that would make it too long goes into a new file, and those before are
 * called `<app>.1.log` (the last), `<app>.2.log` and so on. Several processes may write there, and others
 * may move the file away: its name is looked at before each line, so that it is always the right one. A line that
 * cannot be written is lost, and nothing else; the first time it is said on standard error.
 *
 * An own few lines since pino-roll 4 stands on sonic-boom, whose trouble with a full disk the logger tells
 * of, and knows of one process alone.
 */
export function openLogFiles(
  app: string,
  { folder, maxBytes, count }: LogFiles,
): { write(line: string): void } {
  const path = (number: number) =>
    resolve(folder, number === 0 ? `${app}.log` : `${app}.${number}.log`);
  let file: { descriptor: number; inode: number } | undefined;
  let isCut = false;
  let wasTold = false;
  let pausedUntil = 0;

  const open = (): number => {
    mkdirSync(folder, { recursive: true, mode: 0o750 });
    const descriptor = openSync(path(0), 'a', 0o640);
    file = { descriptor, inode: fstatSync(descriptor).ino };
    return descriptor;
  };

  const close = (): void => {
    if (file !== undefined) closeSync(file.descriptor);
    file = undefined;
  };

  const moveOn = (): void => {
    rmSync(path(count - 1), { force: true });
    for (let number = count - 2; number >= 0; number -= 1) {
      unlessAbsent(() => renameSync(path(number), path(number + 1)));
    }
  };

  /** The file that a line of so many bytes goes into. */
  const fileFor = (bytes: number): number => {
    const there = unlessAbsent(() => statSync(path(0)));
    const isTooLong = there !== undefined && there.size > 0 && there.size + bytes > maxBytes;
    if (isTooLong) moveOn();
    if (file !== undefined && !isTooLong && there?.ino === file.inode) return file.descriptor;
    close();
    return open();
  };

  return {
    write(line) {
      if (performance.now() < pausedUntil) return;
      const bytes = Buffer.from(isCut ? `\n${line}` : line);
      try {
        const descriptor = fileFor(bytes.length);
        for (let at = 0; at < bytes.length;) {
          at += writeSync(descriptor, bytes, at);
          isCut = at < bytes.length;
        }
      } catch (error) {
        pausedUntil = performance.now() + pauseMs;
        if (!wasTold) tell(`no logs are written to LOG_DIR: ${messageOf(error)}`);
        wasTold = true;
      }
    },
  };
}

function unlessAbsent<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function tell(text: string): void {
  try {
    writeSync(2, `${text}\n`);
  } catch {
    // Nor can that be said.
  }
}
