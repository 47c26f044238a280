import { join } from 'node:path';
import { inject } from 'vitest';
import { startDockerEngine, type LocalService } from '@inference-server/local-services';
import { busyboxImage, importBusybox } from './busybox-image.js';
import { whenFileEnds } from './clean-up.js';
import { createEngineApi, type EngineApi } from './engine-api.js';
import { testFolder } from './folder.js';
import type { GpuStandIn } from './gpu-stand-in.js';

/** A docker engine of the caller's own, to be stopped, killed and started again. */
export interface OwnEngine {
  readonly dockerHost: string;
  /** An image with a shell. */
  readonly image: string;
  readonly api: EngineApi;
  /** Ends the engine's process alone, as a restart of its service does: SIGTERM by default. */
  end(how?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  start(options?: { liveRestore?: boolean }): Promise<void>;
}

/** Its containers are ended, and it is stopped, when the file ends. `gpus`: what its containers can have. */
export async function ownEngine(
  options: { liveRestore?: boolean; gpus?: GpuStandIn } = {},
): Promise<OwnEngine> {
  const folder = await testFolder();
  const environment = { ...inject('environment') };
  // The engine looks for the vendor's hook there.
  if (options.gpus !== undefined) {
    environment['PATH'] = `${options.gpus.path}:${environment['PATH'] ?? ''}`;
  }
  let service: LocalService | undefined;
  const start = async ({ liveRestore = false } = {}): Promise<LocalService> => {
    service = await startDockerEngine({
      dataDir: folder,
      logFile: join(folder, 'engine.log'),
      environment,
      signal: AbortSignal.timeout(60_000),
      liveRestore,
    });
    return service;
  };
  const end = async (how: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> => {
    if (service === undefined) return;
    const { pid, ended } = service;
    service = undefined;
    process.kill(pid, how);
    await ended;
  };
  whenFileEnds('own engine', async () => {
    // One that starts without live-restore ends what it finds running.
    await end();
    await (await start()).stop();
  });
  const { url: dockerHost } = await start(options);
  const api = createEngineApi(dockerHost);
  await importBusybox(api, join(folder, 'busybox'));
  return {
    dockerHost,
    image: busyboxImage,
    api,
    end,
    start: async (again) => void (await start(again)),
  };
}
