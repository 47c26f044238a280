import { setTimeout as sleep } from 'node:timers/promises';
import { isEnded, type TaskState } from '@inference-server/contracts';
import { waitUntil } from '@inference-server/local-services';
import type { CrashPoint } from '@inference-server/service-kit';
import type { Callers } from '../load/caller.js';
import { digestOf } from '../load/task-kinds.js';
import type { Random } from '../random.js';
import type { AppProcess } from '../world/app-process.js';
import type { World } from '../world/world.js';
import type { Phase } from './fault.js';
import type { Stroke } from './schedule.js';
import type { Excuse } from '../checks/excuses.js';

/** How a stroke went. */
export interface StrokeResult {
  number: number;
  fault: string;
  phase: Phase;
  /** Where a process was stopped, which one and when, and with which task. Undefined: none came there. */
  hit: { point: CrashPoint; process: string; pid: number; at: string; task: string } | undefined;
  /** What was to be harmed. */
  evidence: Record<string, unknown>[];
  /** What was seen to have happened. Empty: the fault has not hit. */
  proofs: Record<string, unknown>[];
  excuses: Excuse[];
  /** Unix time, ms, in which no private-api could flush anything. */
  unflushed?: { from: number; until: number };
  /** Unix time, ms: when its task was posted, and when the server had recovered. */
  from: number;
  until: number;
  /** From the undoing of the harm until the task that was met, and one posted after it, had ended. */
  recoveryMs: number | undefined;
  /** What went wrong in the harming itself. */
  trouble: string | undefined;
}

export interface StrikeOptions {
  world: World;
  callers: Callers;
  random: Random;
  /** The number of a task that nobody else has. */
  nextTask(): number;
  signal: AbortSignal;
}

/** Of what does not end with the stroke. */
const never = Number.MAX_SAFE_INTEGER;
const hitWithinMs = 20_000;
const recoverWithinMs = 180_000;

/**
 * Stops a process at the point, has the fault strike, makes everything whole again, and waits until the
 * server has recovered. A task of its own sees to it that a process comes there: often it is one of the
 * load's that is met.
 */
export async function strike(
  { number, fault, phase, point, round }: Stroke,
  { world, callers, random, nextTask, signal }: StrikeOptions,
): Promise<StrokeResult> {
  // Of what is struck alone, so that it can be struck alone.
  const own = random.fork(`${fault.name}, ${point}, ${round}`);
  const result: StrokeResult = {
    number,
    fault: fault.name,
    phase,
    hit: undefined,
    evidence: [],
    proofs: [],
    excuses: [],
    from: Date.now(),
    until: 0,
    recoveryMs: undefined,
    trouble: undefined,
  };
  const post = async (name: string, seconds: number) => {
    const plan = { kind: 'met by a fault', ...digestOf(own.fork(name), seconds, fault.model) };
    const task = nextTask();
    const manner = { owner: undefined, key: `task-${task}`, twice: false };
    await callers.run(task, plan, manner);
  };

  if (!isWhole(world)) await makeWhole(world).catch(() => signal.throwIfAborted());
  const candidates = [...world.privateApis, ...world.consumers].filter(
    ({ pid }) => pid !== undefined,
  );
  for (const candidate of candidates) await candidate.arm(point);
  const met = post('met', phase === 'run' ? own.between(2, 12) : 0);
  const at = await firstStopped(candidates, signal);
  for (const candidate of candidates) {
    if ((await candidate.disarm(point)) || candidate === at) continue;
    // Another has come there too: it goes on, this one is met.
    await waitUntil(() => candidate.isStopped(), { timeoutMs: 1_000, everyMs: 5, signal });
    candidate.thaw();
  }
  let undoneAt: number | undefined;
  const more: Promise<void>[] = [];
  try {
    if (at?.pid !== undefined) {
      const task = await at.metAt(point);
      result.hit = { point, process: at.name, pid: at.pid, at: new Date().toISOString(), task };
      const excuse = (more: Pick<Excuse, 'consumers' | 'isOf'>, until = Infinity) => {
        const made: Excuse = { ...more, fault: fault.name, from: Date.now(), until };
        if (more.consumers.length > 0) result.excuses.push(made);
        return made;
      };
      await fault.strike({
        world,
        random: own,
        phase,
        at,
        goOn: () => at.thaw(),
        evidence: (what, more) => {
          result.evidence.push({ at: new Date().toISOString(), what, ...more });
        },
        proof: (what, more) => {
          result.proofs.push({ at: new Date().toISOString(), what, ...more });
        },
        excuseRestarts: (consumers) => {
          const made = excuse({ consumers });
          return () => (made.until = Date.now());
        },
        excuseLapses: (consumers, how) => {
          excuse({ consumers, isOf: 'lapsed leases' }, how === 'for good' ? never : Infinity);
        },
        excuseUnrenewed: (consumers) => {
          excuse({ consumers, isOf: 'unrenewed leases' });
        },
        excuseForgottenEnds: (consumers) => {
          excuse({ consumers, isOf: 'forgotten ends' });
        },
        excuseStoppedStarts: (consumers) => {
          const made = excuse({ consumers, isOf: 'stopped starts' });
          return () => (made.until = Date.now());
        },
        excuseUntoldMemory: (consumers) => {
          excuse({ consumers, isOf: 'untold memory' });
        },
        postOneMore: () => {
          more.push(post(`more ${more.length}`, 0));
        },
        noFlush: (from, until) => {
          result.unflushed = { from, until };
        },
        undoing: () => {
          undoneAt = performance.now();
        },
        pause: (ms) => sleep(ms, undefined, { signal }),
      });
    }
  } catch (error) {
    signal.throwIfAborted();
    result.trouble = String(error);
  }
  undoneAt ??= performance.now();
  try {
    await makeWhole(world);
  } catch (error) {
    // The next stroke tries again, and this one is not counted as one that went well.
    signal.throwIfAborted();
    result.trouble = `${result.trouble ?? ''} It could not be made whole: ${String(error)}`.trim();
  }
  for (const excuse of result.excuses) {
    if (excuse.until === Infinity) excuse.until = Date.now();
    if (excuse.isOf === 'unrenewed leases') excuse.attempts = world.unrenewedSince(excuse.from);
  }
  const over = result.hit === undefined ? undefined : untilOver(world, result.hit.task, signal);
  const recovered = Promise.all([met, post('after', 0), over, ...more]).then(() => true);
  const late = new AbortController();
  const inTime = await Promise.race([
    recovered,
    sleep(recoverWithinMs, false, { signal: late.signal }).catch(() => false),
  ]);
  late.abort();
  if (inTime) result.recoveryMs = Math.round(performance.now() - undoneAt);
  result.until = Date.now();
  return result;
}

/** Until the task has ended, or is none: its post was met before its row was written, and is sent again. */
async function untilOver({ query }: World, uid: string, signal: AbortSignal): Promise<void> {
  const isOver = async () => {
    const [row] = await query<{ state: TaskState }>(
      'SELECT state::text FROM tasks WHERE uid = $1',
      [uid],
    );
    return row === undefined || isEnded(row.state);
  };
  await waitUntil(() => isOver().catch(() => false), { timeoutMs: recoverWithinMs, signal });
}

async function firstStopped(
  candidates: readonly AppProcess[],
  signal: AbortSignal,
): Promise<AppProcess | undefined> {
  let stopped: AppProcess | undefined;
  const isHit = async () => {
    for (const candidate of candidates) {
      if (await candidate.isStopped()) stopped = candidate;
    }
    return stopped !== undefined;
  };
  await waitUntil(isHit, { timeoutMs: hitWithinMs, everyMs: 10, signal });
  return stopped;
}

function isWhole({ postgres, redis, registry, engines, ...apps }: World): boolean {
  const { privateApis, publicApis, consumers } = apps;
  const all = [postgres, redis, registry, ...engines, ...privateApis, ...publicApis, ...consumers];
  return all.every(({ pid }) => pid !== undefined);
}

/** Whatever a fault has left as it is. What fails keeps nothing else from being made whole. */
async function makeWhole(world: World): Promise<void> {
  const apps = [...world.privateApis, ...world.publicApis, ...world.consumers];
  for (const link of world.links.values()) link.heal();
  for (const app of apps) app.thaw();
  const failures: unknown[] = [];
  const attempt = async (mend: () => Promise<unknown>) => {
    await mend().catch((error: unknown) => failures.push(error));
  };
  for (const service of [world.postgres, world.redis, world.registry, ...world.engines]) {
    await attempt(async () => {
      await service.thaw();
      if (service.pid === undefined) await service.start();
    });
  }
  for (const app of apps) {
    await attempt(() => (app.pid === undefined ? app.start() : app.untilReady()));
  }
  if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('; '));
}
