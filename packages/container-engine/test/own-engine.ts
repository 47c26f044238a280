import { mkdir } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { chmod, copyFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import Docker from 'dockerode';
import { inject } from 'vitest';
import { startDockerEngine, type LocalService } from '@inference-server/local-services';
import { testFolder, whenFileEnds } from '@inference-server/testing';

/** A docker engine of the test file's own, to be stopped and started again; gone with the file. */
export interface OwnEngine {
  dockerHost: string;
  socketPath: string;
  docker: Docker;
  /** Ends the engine, as a restart of the host's service does. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** `extraPath`: a folder before all others on the engine's PATH; `dataDir`: where it has everything. */
export async function startOwnEngine(
  options: { extraPath?: string; dataDir?: string } = {},
): Promise<OwnEngine> {
  const dataDir = options.dataDir ?? (await testFolder());
  const environment = inject('environment');
  const path = [options.extraPath, environment['PATH']].filter(Boolean).join(':');
  let service: LocalService | undefined;
  const start = async () => {
    service = await startDockerEngine({
      dataDir,
      logFile: join(dataDir, 'engine.log'),
      environment: { ...environment, PATH: path },
      signal: AbortSignal.timeout(60_000),
    });
    return service;
  };
  const stop = async () => {
    await service?.stop();
  };
  whenFileEnds('own engine', stop);
  const { url } = await start();
  const socketPath = url.replace('unix://', '');
  const docker = new Docker({ socketPath, host: undefined as never });
  return { dockerHost: url, socketPath, docker, stop, start: async () => void (await start()) };
}

/** Debian's static busybox as an image, made without a registry. */
export async function importBusybox(
  docker: Docker,
  tag: string,
  changes: readonly string[] = [],
): Promise<void> {
  const folder = await testFolder();
  await mkdir(join(folder, 'bin'));
  await mkdir(join(folder, 'tmp'));
  await chmod(join(folder, 'tmp'), 0o1777);
  await copyFile('/bin/busybox', join(folder, 'bin', 'busybox'));
  for (const name of commands) await symlink('busybox', join(folder, 'bin', name));
  const tar = spawn('tar', ['-c', '-C', folder, '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [repo, version] = tag.split(':');
  const messages = await docker.importImage(tar.stdout, {
    repo,
    tag: version,
    changes: ['CMD ["sh"]', 'ENV PATH=/bin', ...changes],
  });
  for await (const message of messages) {
    if (String(message).includes('"error"')) throw new Error(String(message));
  }
}

const commands =
  'sh cat ls ln echo id sleep dd yes head tail seq cut mkdir touch test stat truncate printf grep tr rm df nc true'.split(
    ' ',
  );
