import { readFile, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { writeStoredZip } from '../large-zip.js';
import type { Figure } from '../report.js';
import type { Scene } from '../scene.js';
import { startServer } from '../server.js';
import { quantile } from '../statistics.js';
import { openTransferClient } from '../transfer/transfer-client.js';
import { requestAtRate, type TimedRequest } from './requests-at-rate.js';

const kinds = ['polls', 'posts of small zips'] as const;
type Kind = (typeof kinds)[number];
type Times = Record<Kind, { idle: TimedRequest[]; checking: TimedRequest[] }>;

/**
 * How long polls and posts of small zips take while the server checks a large zip, beside how long
 * they take while it has nothing else to do; in turns. Only what is due between the last byte of the
 * large zip and its answer counts as beside the check.
 */
export async function measureOtherRequests(
  scene: Scene,
  zipPath: string,
  { rounds, idleS }: { rounds: number; idleS: number },
): Promise<{ figures: Figure[]; samples: Record<string, number[]> }> {
  const { folder, signal } = scene;
  // No consumer: whatever is posted waits.
  const server = await startServer(scene);
  await server.operator.postModel(
    { human_readable_id: 'nobody-runs-it', container_tag: 'nobody/runs-it:1' },
    { signal },
  );
  const smallPath = `${folder}/small.zip`;
  await writeStoredZip(smallPath, { bytes: 1024, signal });
  const small = await readFile(smallPath);
  await rm(smallPath);
  const tasksUrl = `${server.publicApiUrl}/api/tasks/`;
  const postUrl = `${tasksUrl}?human_readable_id=nobody-runs-it`;
  const waiting = await server.caller.postTask({ human_readable_id: 'nobody-runs-it', zip: small });

  const dispatcher = new Agent();
  scene.onEnd(() => dispatcher.destroy());
  const expect = async (status: number, url: string, zip?: Buffer) => {
    const { statusCode, body } = await request(url, {
      dispatcher,
      ...(zip && { method: 'POST', body: zip, headers: { 'content-type': 'application/zip' } }),
    });
    await body.dump();
    if (statusCode !== status) throw new Error(`A request is answered ${statusCode}`);
  };
  const asked = {
    polls: requestAtRate(scene, 100, () => expect(551, tasksUrl + waiting)),
    'posts of small zips': requestAtRate(scene, 10, () => expect(200, postUrl, small)),
  };

  const times: Times = {
    polls: { idle: [], checking: [] },
    'posts of small zips': { idle: [], checking: [] },
  };
  const take = async (when: 'idle' | 'checking', since: number) => {
    for (const kind of kinds) times[kind][when].push(...(await asked[kind].since(since)));
  };
  const client = openTransferClient(scene);
  await sleep(2_000, undefined, { signal });
  for (let round = 0; round < rounds; round += 1) {
    const idleSince = performance.now();
    await sleep(idleS * 1000, undefined, { signal });
    await take('idle', idleSince);
    let sentAt = Number.NaN;
    const { answer } = await client.upload(postUrl, zipPath, 'bare zip', () => {
      sentAt = performance.now();
    });
    await take('checking', sentAt);
    await client.remove(tasksUrl + String(JSON.parse(answer)));
    await sleep(2_000, undefined, { signal });
  }
  return {
    figures: kinds.flatMap((kind) => figuresOf(kind, times[kind])),
    samples: samplesOf(times),
  };
}

function figuresOf(kind: Kind, { idle, checking }: Times[Kind]): Figure[] {
  const idleMs = p99(idle);
  const checkingMs = p99(checking);
  return [
    { what: `${kind}, nothing else to do: p99`, value: idleMs, unit: 'ms' },
    { what: `${kind}, while a large zip is checked: p99`, value: checkingMs, unit: 'ms' },
    {
      what: `${kind}: checking / idle`,
      value: checkingMs / idleMs,
      unit: '×',
      goal: { atMost: 2 },
    },
  ];
}

function p99(requests: readonly TimedRequest[]): number {
  return quantile(
    requests.map(({ ms }) => ms),
    0.99,
  );
}

function samplesOf(times: Times): Record<string, number[]> {
  return Object.fromEntries(
    kinds.flatMap((kind) =>
      (['idle', 'checking'] as const).map((when) => [
        `${kind}, ${when}`,
        times[kind][when].map(({ ms }) => ms),
      ]),
    ),
  );
}
