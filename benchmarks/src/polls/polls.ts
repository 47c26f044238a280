import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findFreePort } from '@inference-server/local-services';
import type { Measurement } from '../report.js';
import type { Scene } from '../scene.js';
import { startServer, type Server } from '../server.js';
import { median } from '../statistics.js';
import { writeStoredZip } from '../stored-zip.js';
import { createLoad, type LoadTarget } from './load.js';

/**
 * Polls per second on a task that waits, through public-api; beside a bare Fastify app that reads
 * the same row, that app behind a bare relay, and private-api alone. All run at the same time; the
 * load goes to one after another, in rounds.
 */
export async function measurePolls(scene: Scene, quick: boolean): Promise<Measurement> {
  const settings = {
    connections: 32,
    seconds: quick ? 1 : 5,
    rounds: quick ? 2 : 5,
  };
  const targets = await startTargets(scene);
  const load = createLoad(scene, settings);
  for (const target of targets) await load({ ...target, seconds: 2 });

  const samples = new Map<string, number[]>(targets.map(({ name }) => [name, []]));
  const latencies = new Map<string, number[]>(targets.map(({ name }) => [name, []]));
  for (let round = 0; round < settings.rounds; round += 1) {
    for (const target of targets) {
      const { perSecond, medianMs } = await load(target);
      samples.get(target.name)?.push(perSecond);
      latencies.get(target.name)?.push(medianMs);
    }
  }

  const rateOf = (name: TargetName) => median(samples.get(name) ?? []);
  return {
    name: 'polls',
    settings,
    figures: [
      ...targets.map(({ name }) => ({
        what: `${name}: polls per second`,
        value: rateOf(name),
        unit: '1/s' as const,
      })),
      ...targets.map(({ name }) => ({
        what: `${name}: median time of a poll`,
        value: median(latencies.get(name) ?? []),
        unit: 'ms' as const,
      })),
      {
        what: 'bare relay / public-api',
        value: rateOf('bare relay') / rateOf('public-api'),
        unit: '×',
      },
      {
        what: 'bare app / private-api',
        value: rateOf('bare app') / rateOf('private-api'),
        unit: '×',
      },
      {
        what: 'bare app / public-api',
        value: rateOf('bare app') / rateOf('public-api'),
        unit: '×',
      },
    ],
    samples: Object.fromEntries(samples),
  };
}

type TargetName = 'public-api' | 'private-api' | 'bare app' | 'bare relay';
type NamedTarget = LoadTarget & { name: TargetName };

async function startTargets(scene: Scene): Promise<NamedTarget[]> {
  const server = await startServer(scene);
  const path = `/api/tasks/${await postWaitingTask(scene, server)}`;
  const bareApp = await startBare(scene, 'bare-app', { DATABASE_URL: server.databaseUrl });
  const bareRelay = await startBare(scene, 'bare-relay', { UPSTREAM_URL: bareApp });
  const authorization = `Bearer ${server.operatorToken}`;
  return [
    { name: 'public-api', url: `${server.publicApiUrl}${path}` },
    { name: 'bare relay', url: `${bareRelay}${path}` },
    { name: 'private-api', url: `${server.privateApiUrl}${path}`, headers: { authorization } },
    { name: 'bare app', url: `${bareApp}${path}` },
  ];
}

/** There is no consumer: it waits for ever. */
async function postWaitingTask({ folder, signal }: Scene, server: Server): Promise<string> {
  const model = { human_readable_id: 'polled', container_tag: 'nobody/runs-it:1' };
  await server.operator.postModel(model, { signal });
  const path = join(folder, 'input.zip');
  await writeStoredZip(path, { bytes: 1024, signal });
  const zip = await readFile(path);
  return server.caller.postTask({ human_readable_id: 'polled', zip }, { signal });
}

async function startBare(
  scene: Scene,
  name: string,
  settings: Record<string, string>,
): Promise<string> {
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}`;
  const file = fileURLToPath(new URL(`${name}.js`, import.meta.url));
  await scene.start({ name, args: [file], settings: { ...settings, PORT: String(port) } }, () =>
    answers(`${url}/healthz`),
  );
  return url;
}

async function answers(url: string): Promise<boolean> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
  await answer?.arrayBuffer();
  return answer?.status === 200;
}
