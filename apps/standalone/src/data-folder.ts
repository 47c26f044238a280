import { createHash } from 'node:crypto';
import { mkdir, readFile, realpath, rename, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { AppError, systemCode } from '@inference-server/errors';
import { newOperatorToken } from '@inference-server/service-kit';
import type { StandaloneConfig } from './config.js';

export interface DataFolder {
  /** Without links, so that a process on it is recognised by its working folder. */
  path: string;
  /** Distinguishes this folder from every other on the machine. */
  hash: string;
  tokenFile: string;
  token: string;
  logFile(name: string): string;
  lock: Server;
}

/**
 * Makes the folder where it is missing, takes it for this process, and reads or makes the operator's
 * token. Throws CONFLICT while another process has it.
 */
export async function openDataFolder(config: StandaloneConfig): Promise<DataFolder> {
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  const path = await realpath(config.dataDir);
  const hash = createHash('sha256').update(path).digest('hex').slice(0, 16);
  const lock = await takeLock(`\0inference-server-${hash}`, path);
  const tokenFile = join(path, 'private-api.token');
  const token = config.privateApiToken ?? (await keptToken(tokenFile));
  const logs = join(path, 'logs');
  await mkdir(logs, { recursive: true, mode: 0o700 });
  const logFile = (name: string) => join(logs, `${name}.log`);
  return { path, hash, tokenFile, token, logFile, lock };
}

export async function closeDataFolder({ lock }: DataFolder): Promise<void> {
  await new Promise<void>((resolve) => {
    lock.close(() => resolve());
  });
}

/** Starts a log anew; the one before is kept as `.log.1`. */
export async function rotateLog(path: string): Promise<void> {
  await rename(path, `${path}.1`).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
}

/**
 * The lock is a listening socket with a name and no file: the kernel gives it to one process and
 * takes it back when that one ends, however it ends. It answers with the holder's pid.
 */
async function takeLock(name: string, folder: string): Promise<Server> {
  const server = createServer((socket) => socket.resume().end(String(process.pid)));
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(name, resolve);
    });
  } catch (error) {
    if (systemCode(error) !== 'EADDRINUSE') throw error;
    const pid = await askHolder(name);
    throw new AppError(
      'CONFLICT',
      `InferenceServer already runs on ${folder} (process ${pid}). Stop that one, or set DATA_DIR to another folder.`,
      { cause: error },
    );
  }
  return server;
}

async function askHolder(name: string): Promise<string> {
  return await new Promise((resolve) => {
    const socket = connect(name);
    let pid = '';
    socket.setTimeout(2_000, () => socket.destroy());
    socket.on('data', (chunk: Buffer) => (pid += chunk.toString('latin1')));
    socket.once('error', () => undefined);
    socket.once('close', () => resolve(/^\d+$/.test(pid) ? pid : 'unknown'));
  });
}

async function keptToken(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
  const token = newOperatorToken();
  await writeFile(`${path}.part`, `${token}\n`, { mode: 0o600 });
  await rename(`${path}.part`, path);
  return token;
}
