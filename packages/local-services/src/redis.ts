import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { untilServing, type LocalService } from './local-service.js';
import { findFreePort } from './ports.js';
import { startProcess } from './start-process.js';

export interface RedisOptions {
  /** Holds `redis/` with the data and the record of the process. */
  dataDir: string;
  logFile: string;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
  /** Default: a free one. */
  port?: number;
  /** Default: a new one. Letters and digits. */
  password?: string;
}

/**
 * Starts the system's redis-server on 127.0.0.1 with a password, as the queue needs it: append-only
 * file, nothing evicted. Throws SERVICE_UNAVAILABLE with the end of the
 * log.
 */
export async function startRedis(options: RedisOptions): Promise<LocalService> {
  const { dataDir, logFile, environment, signal } = options;
  const folder = join(dataDir, 'redis');
  const configFile = join(folder, 'redis.conf');
  const port = options.port ?? (await findFreePort());
  const password = options.password ?? randomBytes(24).toString('hex');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(configFile, configOf({ folder, port, password }), { mode: 0o600 });
  const child = await startProcess({
    name: 'redis',
    command: 'redis-server',
    args: [configFile],
    environment,
    dataDir,
    logFile,
    port,
    cwd: folder,
  });
  // A big append-only file is read before the first answer.
  await untilServing(child, () => answersPing(port, password), { timeoutMs: 60_000, signal });
  return {
    name: child.name,
    pid: child.pid,
    url: `redis://:${password}@127.0.0.1:${port}`,
    ended: child.ended,
    stop: async () => void (await child.stop()),
  };
}

/** In a file, not on the command line, where every user of the machine could read the password. */
function configOf({ folder, port, password }: { folder: string; port: number; password: string }) {
  return [
    `bind 127.0.0.1`,
    `port ${port}`,
    `requirepass ${password}`,
    `dir ${JSON.stringify(folder)}`,
    'daemonize no',
    'appendonly yes',
    'appendfsync everysec',
    'save ""',
    'maxmemory-policy noeviction',
    '',
  ].join('\n');
}

/** Only a server that knows our password and has finished loading answers PONG. */
async function answersPing(port: number, password: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', timeout: 1_000 });
    let answer = '';
    const done = (serves: boolean) => {
      socket.destroy();
      resolve(serves);
    };
    socket.once('connect', () => socket.write(`AUTH ${password}\r\nPING\r\n`));
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1');
      const lines = answer.split('\r\n');
      if (lines.length > 2) done(lines[0] === '+OK' && lines[1] === '+PONG');
    });
    socket.once('timeout', () => done(false));
    socket.once('error', () => done(false));
    socket.once('close', () => done(false));
  });
}
