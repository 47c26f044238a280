import { join } from 'node:path';
import { startRedis, type LocalService } from '@inference-server/local-services';
import type { SharedServices } from './fixture-host.js';
import type { Given } from './shared-postgres.js';

/** One Redis a run: REDIS_URL's, or its own. */
export function createSharedRedis({ folder, environment }: Given) {
  let own: LocalService | undefined;
  return {
    async start(): Promise<SharedServices['redis']> {
      const url = environment['REDIS_URL'] ?? '';
      if (url !== '') return { url };
      own = await startRedis({
        dataDir: join(folder, 'services'),
        logFile: join(folder, 'services', 'redis.log'),
        environment,
        signal: AbortSignal.timeout(60_000),
      });
      return { url: own.url };
    },
    async stop(): Promise<void> {
      await own?.stop();
    },
  };
}
