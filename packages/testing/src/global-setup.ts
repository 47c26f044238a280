import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { openFixtureHost } from './fixture-host.js';
import { makeRunFolder, removeRunFolder } from './run-folder.js';
import { createSharedEngine } from './shared-engine.js';
import { createSharedPostgres } from './shared-postgres.js';
import { createSharedRedis } from './shared-redis.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** The socket of the fixture host. */
    fixtureHost: string;
    /** Everything that the run writes is below it. */
    runFolder: string;
    /** The checkout. */
    repository: string;
    /** The environment that vitest was started in. */
    environment: Record<string, string>;
  }
}

/**
 * Vitest's global set-up: once a run. What is given by DATABASE_URL, REDIS_URL or DOCKER_HOST, or an
 * engine at the usual socket, is used instead of started. Returns the tear-down, which fails the run
 * when a test has left something behind.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const environment = process.env;
  const repository = project.config.root;
  const folder = await makeRunFolder(environment);
  const given = { folder, environment, repository };
  const postgres = createSharedPostgres(given);
  const redis = createSharedRedis(given);
  const engine = createSharedEngine(given);
  const host = await openFixtureHost(folder, {
    postgres: postgres.start,
    redis: redis.start,
    engine: engine.start,
  });
  project.provide('fixtureHost', host.socketPath);
  project.provide('runFolder', folder);
  project.provide('repository', repository);
  project.provide('environment', definedOnly(environment));

  return async () => {
    await host.close();
    const ends = await Promise.allSettled([engine.stop(), redis.stop(), postgres.stop()]);
    await rm(join(folder, 'host.sock'), { force: true });
    await removeRunFolder(folder, environment);
    const failures = ends
      .filter((end) => end.status === 'rejected')
      .map(({ reason }) => reason as Error);
    if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('\n'));
  };
}

function definedOnly(environment: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    ),
  );
}
