import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasEnded, type ContainerDetails, type ContainerExit } from '../container-engine.js';
import { EngineError, isEngineProblem } from '../engine-error.js';
import { boundedCall, dialStream, type EngineConnection } from './connection.js';
import { inspectContainer } from './containers.js';
import { readClock } from './description.js';
import { engineErrorOf } from './errors.js';

/**
 * Waits for the end of a container. The truth is what inspecting it says, every `pollMs`; the
 * engine's own notice (`wait`, asked for before the start) only makes it quicker, since it never
 * comes when the connection breaks or the container ended before it was asked for.
 */
export async function waitForExit(
  connection: EngineConnection,
  container: string,
  signal: AbortSignal,
): Promise<ContainerExit> {
  const { pollMs, awayMs } = connection.deadlines;
  const local = new AbortController();
  const until = AbortSignal.any([signal, local.signal]);
  const presence = { wasAway: false, lastSeen: performance.now() };
  const listen = () => {
    const notice = { isAwaited: true, heard: Promise.resolve() };
    notice.heard = exitNotice(connection, container, until).then((how) => {
      if (how === 'broken') presence.wasAway = true;
      notice.isAwaited = false;
    });
    return notice;
  };
  try {
    let notice = listen();
    for (;;) {
      const found = await look(connection, container, { until, awayMs, presence });
      if (found !== undefined && hasEnded(found.state)) {
        const { exitCode, outOfMemory, startError } = found;
        if (exitCode === 0) return { exitCode, outOfMemory, startError, interrupted: false };
        const events = await eventsAround(connection, found, until);
        return {
          exitCode,
          outOfMemory: outOfMemory || (events?.has('oom') ?? false),
          startError,
          interrupted: presence.wasAway || events === undefined || events.has('kill'),
        };
      }
      // It has outlived the engine's absence: what ends it from here on is told.
      const isBack = found !== undefined && presence.wasAway;
      if (isBack) {
        presence.wasAway = false;
        if (!notice.isAwaited) notice = listen();
      }
      const isUnsteady = isBack || found === undefined;
      const pauseMs = isUnsteady ? Math.min(pollMs, awayPollMs) : pollMs;
      const pause = sleep(pauseMs, undefined, { signal: until });
      // After an absence in any case: a connection that breaks at once would not let it rest.
      await Promise.race(notice.isAwaited && !isUnsteady ? [pause, notice.heard] : [pause]);
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason as Error;
    throw error;
  } finally {
    local.abort();
  }
}

/** Between two looks while the engine is away: what ends before the first one after it is uncertain. */
const awayPollMs = 500;

/** Inspects it; undefined while the engine is away, for at most `awayMs`. */
async function look(
  connection: EngineConnection,
  container: string,
  {
    until,
    awayMs,
    presence,
  }: { until: AbortSignal; awayMs: number; presence: { wasAway: boolean; lastSeen: number } },
): Promise<ContainerDetails | undefined> {
  try {
    const found = await inspectContainer(connection, container, until);
    presence.lastSeen = performance.now();
    if (found === undefined) {
      throw new EngineError('container_absent', `The container ${container} is gone.`);
    }
    return found;
  } catch (error) {
    if (!isEngineProblem(error, 'unreachable', 'overdue')) throw error;
    presence.wasAway = true;
    if (performance.now() - presence.lastSeen > awayMs) throw error;
    return undefined;
  }
}

/**
 * What the engine's recent events tell of a container that has ended; undefined: the engine is away.
 *
 * `kill`: a signal was sent to it. A stopping engine signals its containers first and answers calls until
 * they have all ended: nothing else gives it away.
 *
 * `oom`: a process of it was killed for memory. Where that ended the container, the event may come after
 * the one of the end (seen: 0.1 ms after it, in 1 % of the ends on a busy machine with cgroup v1), and then
 * the container's state does not have it, now or later. With cgroup v1 it may also never come (seen: 1 of
 * 65 ends, six containers side by side): containerd drops what it comes to once the cgroup is gone.
 */
async function eventsAround(
  connection: EngineConnection,
  { id, endedAt }: ContainerDetails,
  signal: AbortSignal,
): Promise<ReadonlySet<string> | undefined> {
  try {
    // The engine dates an event when it gets to it, on a busy machine long after the end: it is waited for
    // from now on. By the engine's clock, which need not be ours.
    const now = await readClock(connection, signal);
    const untilMs = Math.max(endedAt?.getTime() ?? 0, now.getTime()) + 250;
    const query = {
      since: '0',
      until: (untilMs / 1000).toFixed(3),
      filters: JSON.stringify({ container: [id], event: ['kill', 'oom'] }),
    };
    return await boundedCall('the events', connection.deadlines.callMs, signal, async (bounded) => {
      // At most the last 256 events of all, which an engine keeps.
      const events = await text(
        await dialStream(connection, { method: 'GET', path: '/events', query }, bounded),
      );
      const lines = events.split('\n').filter((line) => line !== '');
      return new Set(lines.map((line) => (JSON.parse(line) as { Action: string }).Action));
    });
  } catch (error) {
    if (isEngineProblem(error, 'unreachable', 'overdue')) return undefined;
    throw error;
  }
}

/** Never rejects: `ended` when the engine said so, `broken` when it went away before. */
async function exitNotice(
  connection: EngineConnection,
  container: string,
  signal: AbortSignal,
): Promise<'ended' | 'broken' | 'refused'> {
  const path = `/containers/${container}/wait`;
  let answered = false;
  try {
    const answer = await dialStream(
      connection,
      { method: 'POST', path, query: { condition: 'next-exit' } },
      signal,
    );
    answered = true;
    let body = '';
    for await (const chunk of answer) body += String(chunk);
    return body.trim() === '' ? 'broken' : 'ended';
  } catch (error) {
    // Also a connection that broke before the answer came: nobody listens, and it has to be asked for anew.
    return answered || isEngineProblem(engineErrorOf(error, 'the wait'), 'unreachable')
      ? 'broken'
      : 'refused';
  }
}
