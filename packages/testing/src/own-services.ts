import { join } from 'node:path';
import { inject } from 'vitest';
import { startPostgres, startRedis, type LocalService } from '@inference-server/local-services';
import { whenFileEnds } from './clean-up.js';
import { testFolder } from './folder.js';

interface Place {
  /** Give the folder and port of an earlier one to start it again with its data. */
  dataDir?: string;
  port?: number;
}

/** So that a Redis that is started again is reached at the same address. */
const redisPassword = 'test';

/** A Redis of the caller's own, to be stopped, killed and started again. */
export async function ownRedis(place: Place = {}): Promise<LocalService> {
  return await started(startRedis, 'redis', place);
}

/** A PostgreSQL of the caller's own, without migrations, to be stopped, killed and started again. */
export async function ownPostgres(place: Place = {}): Promise<LocalService> {
  return await started(startPostgres, 'postgres', place);
}

async function started(
  start: typeof startRedis | typeof startPostgres,
  name: string,
  { dataDir = undefined as string | undefined, port = undefined as number | undefined }: Place,
): Promise<LocalService> {
  const folder = dataDir ?? (await testFolder());
  const service = await start({
    dataDir: folder,
    logFile: join(folder, `${name}.log`),
    environment: inject('environment'),
    signal: AbortSignal.timeout(60_000),
    durable: false,
    password: redisPassword,
    ...(port === undefined ? {} : { port }),
  });
  whenFileEnds(`own ${name}`, service.stop);
  return service;
}
