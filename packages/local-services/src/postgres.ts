import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, readlink, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { AppError, messageOf, systemCode } from '@inference-server/errors';
import { untilServing, type LocalService } from './local-service.js';
import { findFreePort } from './ports.js';
import { findPostgres, type PostgresBinaries } from './postgres-binaries.js';
import { startProcess } from './start-process.js';
import { unprivilegedPrefix } from './unprivileged.js';

export interface PostgresOptions {
  /** Holds `postgres/` (the cluster), its password, the links to its libraries and the record. */
  dataDir: string;
  logFile: string;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
  /** Default: a free one. */
  port?: number;
  /** False only where losing everything at a power cut is fine: in tests. */
  durable?: boolean;
}

/**
 * Starts PostgreSQL 18 from npm on 127.0.0.1, making the cluster first when there is none. The url
 * is that of the superuser and the database `postgres`. Throws SERVICE_UNAVAILABLE with the end of
 * the log.
 */
export async function startPostgres(options: PostgresOptions): Promise<LocalService> {
  const { dataDir, logFile, signal, durable = true } = options;
  const cluster = join(dataDir, 'postgres');
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const binaries = await findPostgres(join(dataDir, 'postgres-lib'));
  const environment = {
    ...options.environment,
    LD_LIBRARY_PATH: binaries.libraryFolder,
    LC_ALL: 'C',
    TZ: 'UTC',
  };
  const prefix = await unprivilegedPrefix(environment);
  const password = await readPassword(dataDir);
  await makeCluster({ cluster, dataDir, binaries, prefix, environment, durable, signal });
  await removeStalePidFile(cluster);

  const port = options.port ?? (await findFreePort());
  const [command = '', ...args] = [
    ...prefix,
    binaries.postgres,
    '-D',
    cluster,
    ...settings({ port, durable }).flatMap((setting) => ['-c', setting]),
  ];
  const child = await startProcess({
    name: 'postgres',
    command,
    args,
    environment,
    dataDir,
    logFile,
    port,
    // "Fast": ends the sessions of clients; SIGTERM would wait for them.
    stopSignal: 'SIGINT',
    stopGraceMs: 30_000,
  });
  await untilServing(child, () => isReady(cluster, child.pid), { timeoutMs: 60_000, signal });
  return {
    name: child.name,
    pid: child.pid,
    url: `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`,
    ended: child.ended,
    stop: async () => void (await child.stop()),
  };
}

function settings({ port, durable }: { port: number; durable: boolean }): string[] {
  return [
    'listen_addresses=127.0.0.1',
    `port=${port}`,
    'unix_socket_directories=',
    'max_connections=200',
    'timezone=UTC',
    'log_timezone=UTC',
    ...(durable ? [] : ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off']),
  ];
}

/** Made under another name and moved into place: a start that is cut short leaves no half of one. */
async function makeCluster(given: {
  cluster: string;
  dataDir: string;
  binaries: PostgresBinaries;
  prefix: string[];
  environment: NodeJS.ProcessEnv;
  durable: boolean;
  signal: AbortSignal;
}): Promise<void> {
  const { cluster, dataDir, binaries, prefix, environment, durable, signal } = given;
  if (await exists(cluster)) return;
  const part = `${cluster}.part`;
  await rm(part, { recursive: true, force: true });
  const [command = '', ...args] = [
    ...prefix,
    binaries.initdb,
    `--pgdata=${part}`,
    '--username=postgres',
    `--pwfile=${passwordFile(dataDir)}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--no-instructions',
    ...(durable ? [] : ['--no-sync']),
  ];
  try {
    await promisify(execFile)(command, args, { env: environment, signal, timeout: 120_000 });
  } catch (error) {
    signal.throwIfAborted();
    throw new AppError('SERVICE_UNAVAILABLE', `initdb failed: ${messageOf(error)}`, {
      cause: error,
    });
  }
  await rename(part, cluster);
}

/** Stays the same for the life of the cluster, which knows it since initdb. */
async function readPassword(dataDir: string): Promise<string> {
  const path = passwordFile(dataDir);
  if (!(await exists(path))) {
    await writeFile(`${path}.part`, randomBytes(24).toString('hex'), { mode: 0o600 });
    await rename(`${path}.part`, path);
  }
  return await readFile(path, 'utf8');
}

function passwordFile(dataDir: string): string {
  return join(dataDir, 'postgres.password');
}

/**
 * After a crash of the machine the pid in the cluster's pid file may be any process, and PostgreSQL
 * would refuse to start. A live server on this cluster is recognised by its working folder.
 */
async function removeStalePidFile(cluster: string): Promise<void> {
  const pid = (await readPidFile(cluster))[0];
  if (pid === undefined) return;
  const workingFolder = await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
  if (workingFolder === cluster) {
    throw new AppError('CONFLICT', `The database in ${cluster} is in use by process ${pid}.`);
  }
  await rm(join(cluster, 'postmaster.pid'), { force: true });
}

/** The server writes its state into line 8 of its pid file; nothing else tells without a client. */
async function isReady(cluster: string, pid: number): Promise<boolean> {
  const lines = await readPidFile(cluster);
  return lines[0] === String(pid) && lines[7]?.trim() === 'ready';
}

async function readPidFile(cluster: string): Promise<string[]> {
  try {
    return (await readFile(join(cluster, 'postmaster.pid'), 'utf8')).split('\n');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
