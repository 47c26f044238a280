import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readLogTail, waitUntil } from '@inference-server/local-services';
import { libfaketime } from '../../../scripts/libfaketime.mjs';
import { stopGraceS, type AppProcess } from '../world/app-process.js';
import type { LogLine } from '../world/log-tail.js';
import type { World } from '../world/world.js';
import type { Fault, Phase, Scene } from './fault.js';
import { atOrAny, leaderOf } from './victims.js';

const hourMs = 3_600_000;
const forMs = 10_000;
const endWithinMs = (stopGraceS + 15) * 1000;

const ways = [
  { word: 'ahead', aheadMs: hourMs, setting: '+1h' },
  { word: 'behind', aheadMs: -hourMs, setting: '-1h' },
] as const;
type Way = (typeof ways)[number];

const victims: readonly {
  name: string;
  phases: readonly Phase[];
  find(scene: Scene): AppProcess | Promise<AppProcess>;
}[] = [
  {
    name: 'a public-api',
    phases: ['post', 'run'],
    find: (scene) => atOrAny(scene, 'public-api'),
  },
  {
    name: 'a private-api',
    phases: ['post', 'claim', 'run', 'settle'],
    find: (scene) => atOrAny(scene, 'private-api'),
  },
  { name: 'the leader', phases: ['ticket', 'run'], find: leaderOf },
  {
    name: 'a consumer',
    phases: ['claim', 'run', 'collect'],
    find: (scene) => atOrAny(scene, 'job-consumer'),
  },
];

/** One process has another time than all others, and gets the right one back. */
export const clockFaults: readonly Fault[] = ways.flatMap((way) =>
  victims.map(({ name, phases, find }) => ({
    name: `the clock of ${name} is an hour ${way.word}`,
    phases,
    strike: async (scene: Scene) => runWithOtherClock(scene, await find(scene), way),
  })),
);

async function runWithOtherClock(scene: Scene, victim: AppProcess, way: Way): Promise<void> {
  const { world, evidence, proof, pause, undoing } = scene;
  const shown = async (aheadMs: number) => {
    const line = await lineAhead(world, victim, aheadMs);
    const { time, msg } = line;
    const now = new Date().toISOString();
    const its = { process: victim.name, pid: victim.pid, now, itsTime: new Date(time), msg };
    return its;
  };
  evidence('SIGTERM, for a start with another clock', { process: victim.name, pid: victim.pid });
  try {
    await replace(scene, victim, otherClock(way));
    proof('what its log says', await shown(way.aheadMs));
    await pause(forMs);
  } finally {
    undoing();
    await replace(scene, victim, {});
  }
  evidence('what its log says again', await shown(0));
}

async function replace(
  { goOn }: Scene,
  victim: AppProcess,
  environment: NodeJS.ProcessEnv,
): Promise<void> {
  const ended = victim.end('SIGTERM');
  // One that stands still hears of it only when it goes on.
  goOn();
  const overdue = new AbortController();
  const inTime = await Promise.race([
    ended.then(() => true),
    sleep(endWithinMs, false, { signal: overdue.signal }),
  ]);
  overdue.abort();
  const { name, pid } = victim;
  if (!inTime) await victim.end('SIGKILL');
  await victim.start(environment);
  if (!inTime) throw new Error(`${name} ${pid} did not end within ${endWithinMs} ms of SIGTERM.`);
}

/** What is measured and waited for goes by the monotonic clock, which stays. */
function otherClock({ setting }: Way): NodeJS.ProcessEnv {
  return { LD_PRELOAD: libfaketime(), FAKETIME: setting, DONT_FAKE_MONOTONIC: '1' };
}

/** The last line of its log, whose time has to be so far ahead of ours. */
async function lineAhead(
  { folder }: World,
  { name, pid }: AppProcess,
  aheadMs: number,
): Promise<LogLine> {
  let line: LogLine | undefined;
  const isThere = async () => {
    const lines = (await readLogTail(join(folder, `${name}.log`))).split('\n');
    line = lines.flatMap(parsed).findLast((one) => one.pid === pid);
    return line !== undefined;
  };
  await waitUntil(isThere, { timeoutMs: 10_000 });
  const offMs = (line?.time ?? 0) - Date.now() - aheadMs;
  if (line !== undefined && Math.abs(offMs) < hourMs / 10) return line;
  throw new Error(`The clock of ${name} is not ${aheadMs} ms ahead: ${JSON.stringify(line)}`);
}

function parsed(text: string): LogLine[] {
  try {
    return [JSON.parse(text) as LogLine];
  } catch {
    return [];
  }
}
