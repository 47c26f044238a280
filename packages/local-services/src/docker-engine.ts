import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { askDockerEngine } from './ask-docker-engine.js';
import { untilServing, type LocalService } from './local-service.js';
import { unmountAll } from './mounts.js';
import { startProcess } from './start-process.js';
import { waitUntil } from './wait-until.js';

export interface DockerEngineOptions {
  /** Holds `docker/` with images, volumes and containers, and the record of the process. */
  dataDir: string;
  logFile: string;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
  /** Whether containers outlive the engine's process. Default: they end with it. */
  liveRestore?: boolean;
}

/**
 * Starts a docker engine of our own: the system's dockerd with its folders and its socket below
 * `dataDir`. It makes no bridge and no packet filter rules, so that another engine on the machine is
 * left alone; its containers have no network. Needs root. Throws SERVICE_UNAVAILABLE with the end of
 * the log.
 */
export async function startDockerEngine(options: DockerEngineOptions): Promise<LocalService> {
  const { dataDir, logFile, environment, signal, liveRestore = false } = options;
  const folders = engineFolders(dataDir);
  await mkdir(folders.root, { recursive: true, mode: 0o700 });
  await mkdir(folders.exec, { recursive: true, mode: 0o700 });
  // In place of /etc/docker/daemon.json, whose settings are for the system's engine.
  const settings = JSON.stringify({ 'live-restore': liveRestore });
  await writeFile(folders.configFile, `${settings}\n`, { mode: 0o600 });
  // Our own records say that no engine of this folder lives: a pid in these files is another's.
  await rm(folders.pidFile, { force: true });
  if (!(await containerdLives(folders))) await rm(folders.containerdPidFile, { force: true });
  const dockerHost = `unix://${folders.socket}`;
  const child = await startProcess({
    name: 'docker-engine',
    command: 'dockerd',
    args: engineArgs(folders, dockerHost),
    environment,
    dataDir,
    logFile,
    // The engine gives its containers 15 s.
    stopGraceMs: 30_000,
  });
  const stop = async () => {
    await child.stop();
    await endContainerd(folders);
    await unmountAll([folders.root, folders.exec], environment);
    if (folders.short !== undefined) await rm(folders.short, { recursive: true, force: true });
  };
  try {
    await untilServing(child, () => askDockerEngine(dockerHost), { timeoutMs: 60_000, signal });
  } catch (error) {
    await stop();
    throw error;
  }
  return { name: child.name, pid: child.pid, url: dockerHost, ended: child.ended, stop };
}

interface EngineFolders {
  root: string;
  exec: string;
  socket: string;
  pidFile: string;
  configFile: string;
  containerdPidFile: string;
  /** A folder of ours outside the data folder, when that one's name is too long for sockets. */
  short: string | undefined;
  /** Keeps what this engine has in containerd apart from any other engine's. */
  namespace: string;
}

function engineFolders(dataDir: string): EngineFolders {
  const home = join(dataDir, 'docker');
  const hash = createHash('sha256').update(dataDir).digest('hex').slice(0, 12);
  // The address of a socket has at most 107 bytes, and this is the longest that the engine makes.
  const longest = join(home, 'exec', 'containerd', 'containerd-debug.sock');
  const short = Buffer.byteLength(longest) < 100 ? undefined : `/run/inference-server-${hash}`;
  const exec = join(short ?? home, 'exec');
  return {
    root: join(home, 'root'),
    exec,
    socket: join(short ?? home, 'docker.sock'),
    pidFile: join(home, 'docker.pid'),
    configFile: join(home, 'daemon.json'),
    containerdPidFile: join(exec, 'containerd', 'containerd.pid'),
    short,
    namespace: `inference-server-${hash}`,
  };
}

function engineArgs(folders: EngineFolders, dockerHost: string): string[] {
  return [
    `--host=${dockerHost}`,
    `--data-root=${folders.root}`,
    `--exec-root=${folders.exec}`,
    `--pidfile=${folders.pidFile}`,
    // A machine's own containerd, where there is one, is shared by every engine that finds it.
    `--containerd-namespace=${folders.namespace}`,
    `--containerd-plugins-namespace=${folders.namespace}-plugins`,
    `--config-file=${folders.configFile}`,
    '--bridge=none',
    '--iptables=false',
    '--ip-forward=false',
    '--ip-masq=false',
  ];
}

/** An engine that was killed leaves its containerd behind for a moment, or for ever. */
async function endContainerd(folders: EngineFolders): Promise<void> {
  const gone = async () => !(await containerdLives(folders));
  if (await waitUntil(gone, { timeoutMs: 2_000 })) return;
  const pid = await containerdPid(folders);
  if (pid === undefined) return;
  process.kill(pid, 'SIGTERM');
  if (await waitUntil(gone, { timeoutMs: 10_000 })) return;
  process.kill(pid, 'SIGKILL');
  await waitUntil(gone, { timeoutMs: 5_000 });
}

/** Whether the process in the pid file is a containerd on this very folder. */
async function containerdLives(folders: EngineFolders): Promise<boolean> {
  const pid = await containerdPid(folders);
  if (pid === undefined) return false;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return commandLine.split('\0').some((argument) => argument.startsWith(`${folders.exec}/`));
}

async function containerdPid(folders: EngineFolders): Promise<number | undefined> {
  const text = await readFile(folders.containerdPidFile, 'utf8').catch(() => '');
  const pid = Number.parseInt(text, 10);
  return Number.isInteger(pid) && pid > 1 ? pid : undefined;
}
