import { join } from 'node:path';
import {
  askDockerEngine,
  startDockerEngine,
  type LocalService,
} from '@inference-server/local-services';
import { busyboxImage, importBusybox } from './busybox-image.js';
import { createEngineApi, type EngineApi, type EngineObject } from './engine-api.js';
import type { SharedServices } from './fixture-host.js';
import type { Given } from './shared-postgres.js';

/**
 * One docker engine a run: DOCKER_HOST's, the one at the usual socket, or its own. Has a shell image
 * that no registry is needed for.
 */
export function createSharedEngine({ folder, environment }: Given) {
  let own: LocalService | undefined;
  let api: EngineApi | undefined;
  let before: EngineObject[] = [];

  return {
    async start(): Promise<SharedServices['engine']> {
      const givenHost = environment['DOCKER_HOST'] ?? '';
      const usualHost = givenHost === '' ? 'unix:///var/run/docker.sock' : givenHost;
      if (!(await askDockerEngine(usualHost))) {
        if (givenHost !== '')
          throw new Error(`No docker engine answers at DOCKER_HOST ${givenHost}`);
        own = await startDockerEngine({
          dataDir: join(folder, 'services'),
          logFile: join(folder, 'services', 'docker-engine.log'),
          environment,
          signal: AbortSignal.timeout(60_000),
        });
      }
      const dockerHost = own?.url ?? usualHost;
      api = createEngineApi(dockerHost);
      await importBusybox(api, join(folder, 'busybox'));
      before = await api.listObjects();
      return { dockerHost, image: busyboxImage };
    },

    /** Throws when, at the end, there is more of ours in the engine than at the start. */
    async stop(): Promise<void> {
      if (api === undefined) return;
      const known = new Set(before.map(nameOf));
      const left = (await api.listObjects()).filter(
        (object) => !known.has(nameOf(object)) && (own !== undefined || isOurs(object)),
      );
      await own?.stop();
      if (left.length > 0) {
        throw new Error(`Tests have left in the engine: ${left.map(nameOf).join(', ')}`);
      }
    },
  };
}

function nameOf({ kind, name }: EngineObject): string {
  return `${kind} ${name}`;
}

/** In an engine that others use too, only what carries our labels counts. */
function isOurs({ labels }: EngineObject): boolean {
  return Object.keys(labels).some((label) => label.startsWith('inference-server'));
}
