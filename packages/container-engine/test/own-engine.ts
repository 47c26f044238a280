import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Docker from 'dockerode';

/** A docker engine of the test's own: private socket and folders, no bridge, gone afterwards. */
export interface OwnEngine {
  dockerHost: string;
  socketPath: string;
  docker: Docker;
  /** Ends the engine, as a restart of the host's service does. */
  stop(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

/** `extraPath`: a folder before all others on the engine's PATH. */
export async function startOwnEngine(options: { extraPath?: string } = {}): Promise<OwnEngine> {
  const folder = await mkdtemp(join(tmpdir(), 'engine-'));
  const socketPath = join(folder, 'docker.sock');
  const docker = new Docker({ socketPath, host: undefined } as Docker.DockerOptions);
  let daemon: ChildProcess | undefined;

  const start = async () => {
    const path = [options.extraPath, process.env['PATH']].filter(Boolean).join(':');
    const child = spawn(
      'dockerd',
      [
        ...['--data-root', join(folder, 'root'), '--exec-root', join(folder, 'exec')],
        ...['--pidfile', join(folder, 'pid'), '-H', `unix://${socketPath}`],
        ...['--bridge=none', '--iptables=false'],
      ],
      { env: { ...process.env, PATH: path }, stdio: 'ignore', detached: true },
    );
    daemon = child;
    for (let tries = 0; tries < 300; tries += 1) {
      if (child.exitCode !== null) throw new Error(`dockerd ended with ${child.exitCode}`);
      const answered = await docker.ping().then(
        () => true,
        () => false,
      );
      if (answered) return;
      await sleep(100);
    }
    throw new Error('dockerd did not answer within 30 s');
  };

  const stop = async () => {
    const child = daemon;
    daemon = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  };

  const close = async () => {
    await stop();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };

  await start();
  return { dockerHost: `unix://${socketPath}`, socketPath, docker, stop, start, close };
}

/** Debian's static busybox as an image, made without a registry. */
export async function importBusybox(
  docker: Docker,
  tag: string,
  changes: readonly string[] = [],
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'busybox-'));
  try {
    await mkdir(join(folder, 'bin'));
    await mkdir(join(folder, 'tmp'));
    await copyFile('/bin/busybox', join(folder, 'bin', 'busybox'));
    for (const name of commands) await symlink('busybox', join(folder, 'bin', name));
    const tar = spawn('tar', ['-c', '-C', folder, '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const messages = await docker.importImage(tar.stdout, {
      repo: tag.split(':')[0],
      tag: tag.split(':')[1],
      changes: ['CMD ["sh"]', 'ENV PATH=/bin', ...changes],
    } as object);
    for await (const message of messages) {
      if (String(message).includes('"error"')) throw new Error(String(message));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

const commands =
  'sh cat ls echo id sleep dd yes head seq mkdir touch chmod ln mkfifo test stat printf tr rm cp df wc ps kill env true false'.split(
    ' ',
  );
