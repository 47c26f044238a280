import { inject } from 'vitest';
import { findFreePort, type LocalService } from '@inference-server/local-services';
import { whenFileEnds } from './clean-up.js';
import { testFolder } from './folder.js';
import { childrenOf } from './leaks.js';
import { migrate } from './migrate.js';
import { ownPostgres } from './own-services.js';
import { query } from './query.js';

/** A database with all migrations applied, on a PostgreSQL of the caller's own. */
export interface OwnDatabase {
  readonly url: string;
  query<Row extends Record<string, unknown>>(
    statement: string,
    values?: readonly unknown[],
  ): Promise<Row[]>;
  /** Ends it, with all sessions. */
  stop(): Promise<void>;
  /** At the same address, with the same data. */
  start(): Promise<void>;
  /** Stops every process of it where it is: connections stay, and nothing answers. */
  freeze(): Promise<void>;
  thaw(): void;
}

export async function ownDatabase(): Promise<OwnDatabase> {
  const place = { dataDir: await testFolder(), port: await findFreePort() };
  let frozen: number[] = [];
  const thaw = () => {
    for (const pid of frozen.splice(0)) process.kill(pid, 'SIGCONT');
  };
  const start = async (): Promise<LocalService> => {
    const started = await ownPostgres(place);
    // After that one's own stop, and so called before it.
    whenFileEnds('own database', async () => thaw());
    return started;
  };
  let service = await start();
  await migrate(service.url, inject('repository'), inject('environment'));
  return {
    url: service.url,
    query: (statement, values) => query(service.url, statement, values),
    stop: () => service.stop(),
    start: async () => {
      service = await start();
    },
    freeze: async () => {
      // The parent first: it starts no more.
      frozen = [service.pid];
      process.kill(service.pid, 'SIGSTOP');
      for (const pid of await childrenOf(service.pid)) {
        process.kill(pid, 'SIGSTOP');
        frozen.unshift(pid);
      }
    },
    thaw,
  };
}
