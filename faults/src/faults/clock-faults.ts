import { join } from 'node:path';
import { readLogTail, waitUntil } from '@inference-server/local-services';
import { libfaketime } from '../../../scripts/libfaketime.mjs';
import type { AppProcess } from '../world/app-process.js';
import type { LogLine } from '../world/log-tail.js';
import type { World } from '../world/world.js';
import type { Fault, Phase, Scene } from './fault.js';
import { atOrAny, leaderOf } from './victims.js';

const hourMs = 3_600_000;
const forMs = 10_000;

const ways = [
  { word: 'ahead', aheadMs: hourMs, setting: '+1h' },
  { word: 'behind', aheadMs: -hourMs, setting: '-1h' },
] as const;
type Way = (typeof ways)[number];

interface Victim {
  name: string;
  phases: readonly Phase[];
  find(scene: Scene): AppProcess | Promise<AppProcess>;
  /** Once it has the other clock. */
  then?(scene: Scene, victim: AppProcess): Promise<void>;
}

const victims: readonly Victim[] = [
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
  { name: 'the leader', phases: ['ticket', 'run'], find: leaderOf, then: makeLeader },
  {
    name: 'a consumer',
    phases: ['claim', 'run', 'collect'],
    find: (scene) => atOrAny(scene, 'job-consumer'),
  },
];

/** One process has another time than all others, and gets the right one back. */
export const clockFaults: readonly Fault[] = ways.flatMap((way) =>
  victims.map((victim) => ({
    name: `the clock of ${victim.name} is an hour ${way.word}`,
    phases: victim.phases,
    strike: async (scene: Scene) => runWithOtherClock(scene, victim, way),
  })),
);

async function runWithOtherClock(scene: Scene, { find, then }: Victim, way: Way): Promise<void> {
  const victim = await find(scene);
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
    await then?.(scene, victim);
    await pause(forMs);
  } finally {
    undoing();
    await replace(scene, victim, {});
  }
  evidence('what its log says again', await shown(0));
}

/** One that does not end in its time is killed, and the account of ends tells. */
async function replace(
  { goOn }: Pick<Scene, 'goOn'>,
  victim: AppProcess,
  environment: NodeJS.ProcessEnv,
): Promise<void> {
  const ended = victim.end('SIGTERM');
  // One that stands still hears of it only when it goes on.
  goOn();
  await ended;
  await victim.start(environment);
}

/**
 * Who ends gives the leadership up: it comes back when the other one ends. On a busy machine that one may be
 * back before the victim has looked, and lead again.
 */
async function makeLeader(scene: Scene, victim: AppProcess): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    for (const other of scene.world.privateApis) {
      if (other !== victim) await replace(scene, other, {});
    }
    const leader = await leaderOf(scene);
    if (leader === victim) return;
    if (tries === 5) throw new Error(`${leader.name} leads, and not ${victim.name}.`);
  }
  scene.proof('leads', { process: victim.name, pid: victim.pid });
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
