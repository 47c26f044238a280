import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findFreePort } from '@inference-server/local-services';
import type { Figure, Measurement, Unit } from '../report.js';
import type { Scene } from '../scene.js';
import { startServer, type Server } from '../server.js';
import { median } from '../statistics.js';
import { writeStoredZip } from '../large-zip.js';
import { createLoad, type LoadResult, type LoadTarget } from './load.js';

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

  const results = new Map<TargetName, LoadResult[]>(targets.map(({ name }) => [name, []]));
  for (let round = 0; round < settings.rounds; round += 1) {
    for (const target of targets) results.get(target.name)?.push(await load(target));
  }

  const samplesOf = (name: TargetName, measure: keyof LoadResult) =>
    (results.get(name) ?? []).map((result) => result[measure]);
  const figuresOf = (measure: keyof LoadResult, what: string, unit: Unit): Figure[] =>
    targets.map(({ name }) => ({
      what: `${name}: ${what}`,
      value: median(samplesOf(name, measure)),
      unit,
    }));
  const ratio = (slower: TargetName, faster: TargetName): Figure => ({
    what: `${faster} / ${slower}`,
    value: median(samplesOf(faster, 'perSecond')) / median(samplesOf(slower, 'perSecond')),
    unit: '×',
  });
  return {
    name: 'polls',
    settings,
    figures: [
      ...figuresOf('perSecond', 'polls per second', '1/s'),
      ratio('public-api', 'bare relay'),
      ratio('private-api', 'bare app'),
      ratio('public-api', 'bare app'),
      ...figuresOf('medianMs', 'median time of a poll', 'ms'),
      ...figuresOf('processorMs', 'processor time of a poll', 'ms'),
    ],
    samples: Object.fromEntries(targets.map(({ name }) => [name, samplesOf(name, 'perSecond')])),
  };
}

type TargetName = 'public-api' | 'private-api' | 'bare app' | 'bare relay';
type NamedTarget = LoadTarget & { name: TargetName };

async function startTargets(scene: Scene): Promise<NamedTarget[]> {
  const server = await startServer(scene);
  const path = `/api/tasks/${await postWaitingTask(scene, server)}`;
  const bareApp = await startBare(scene, 'bare-app', { DATABASE_URL: server.databaseUrl });
  const bareRelay = await startBare(scene, 'bare-relay', { UPSTREAM_URL: bareApp.url });
  const authorization = `Bearer ${server.operatorToken}`;
  const pidOf = (app: string) =>
    server.processes.filter(({ name }) => name === app).map(({ pid }) => pid);
  return [
    {
      name: 'public-api',
      url: `${server.publicApiUrl}${path}`,
      pids: [...pidOf('public-api'), ...pidOf('private-api')],
    },
    {
      name: 'bare relay',
      url: `${bareRelay.url}${path}`,
      pids: [bareRelay.pid, bareApp.pid],
    },
    {
      name: 'private-api',
      url: `${server.privateApiUrl}${path}`,
      headers: { authorization },
      pids: pidOf('private-api'),
    },
    { name: 'bare app', url: `${bareApp.url}${path}`, pids: [bareApp.pid] },
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
): Promise<{ url: string; pid: number }> {
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}`;
  const file = fileURLToPath(new URL(`${name}.js`, import.meta.url));
  const { pid } = await scene.start(
    { name, args: [file], settings: { ...settings, PORT: String(port) } },
    () => answers(`${url}/healthz`),
  );
  return { url, pid };
}

async function answers(url: string): Promise<boolean> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
  await answer?.arrayBuffer();
  return answer?.status === 200;
}
