import { setTimeout as sleep } from 'node:timers/promises';
import type { GatewayNews, GatewayReport } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
import { joinSignals, type Logger } from '@inference-server/service-kit';
import type { PrivateApiClient } from './private-api-client.js';

export interface SyncLoop {
  /** The request that is held is asked again, with what is to be told now. */
  hurry(): void;
  /** Everything is asked for anew; whether private-api answered in time. */
  refresh(): Promise<boolean>;
  /** False: since the last answer a request has failed. */
  hasFreshNews(): boolean;
  /** Tells a last time what is held. */
  close(): Promise<void>;
}

/** Requests may not follow each other faster, whatever happens. */
const leastBetweenMs = 100;
/** How often calls that come and go are told of while a request is held. */
const countedEveryMs = 1_000;
const refreshedWithinMs = 2_000;
/** Somebody who names models that there are not has everything asked for no more often. */
const refreshedEveryMs = 500;
const longestPauseMs = 5_000;
/** Of a request that is not held. */
const answeredWithinMs = 10_000;
const farewellMs = 1_000;

/**
 * Tells private-api of the calls, and hears of models and replicas, in one request after the other. One that is
 * given up for the next may have been answered just then, so the next is answered at once and never given up:
 * however often there is something to tell, and however slow private-api is, its news are heard. While it is
 * away, what is known goes on being used.
 */
export function startSyncLoop({
  api,
  logger,
  report,
  apply,
}: {
  api: PrivateApiClient;
  logger: Logger;
  report: () => Pick<GatewayReport, 'holds' | 'demand'>;
  apply: (news: GatewayNews) => void;
}): SyncLoop {
  const closing = new AbortController();
  let hurrying = new AbortController();
  let revisions: Pick<GatewayReport, 'revision' | 'models_revision'> = nothing;
  /** The request under way is held while there is nothing new, and can be given up. */
  let isHeld = false;
  /** The last one was not answered: the next one is, whatever there is. */
  let isOwed = false;
  let wantsAll = false;
  let begunAt = -Infinity;
  let refreshedAt = -Infinity;
  let number = 0;
  let isAway = false;
  let pauseMs = 0;
  let refreshing: Promise<boolean> | undefined;
  /** The one after that, which nobody has asked for yet. */
  let upcoming: Promise<boolean> | undefined;
  /** Told with each request how it ended. */
  const onNews = new Set<(isNews: boolean, asked: number) => void>();

  /** One that was given up may come after the next: it is known by its number. */
  const nextNumber = () => (number += 1);

  /** What is to be told is told by the next request, where the one under way has to be answered first. */
  const hurry = () => {
    if (isHeld) hurrying.abort();
  };

  async function syncOnce(): Promise<void> {
    const told = report();
    begunAt = performance.now();
    const asked = nextNumber();
    const known = wantsAll ? nothing : revisions;
    const since = isOwed ? { ...known, revision: null } : known;
    [isHeld, isOwed, wantsAll] = [since.revision !== null, true, false];
    const calls = demandIn(told);
    const counting = setInterval(() => {
      if (demandIn(report()) !== calls) hurry();
    }, countedEveryMs);
    const late = new AbortController();
    const overdue = isHeld ? undefined : setTimeout(() => late.abort(isLate()), answeredWithinMs);
    const { signal, release } = joinSignals(closing.signal, hurrying.signal, late.signal);
    try {
      const news = await api.sync({ ...since, ...told, number: asked }, signal);
      // It was answered as it was given up: the next one asks for what is wanted now.
      if (signal.aborted) return;
      apply(news);
      revisions = { revision: news.revision, models_revision: news.models_revision };
      isOwed = false;
      if (isAway) logger.info('private-api answers again');
      [isAway, pauseMs] = [false, 0];
      for (const heard of onNews) heard(true, asked);
    } catch (error) {
      if (closing.signal.aborted || hurrying.signal.aborted) return;
      if (!isAway) logger.warn({ reason: messageOf(error) }, 'no news of models and replicas');
      isAway = true;
      pauseMs = Math.min(Math.max(2 * pauseMs, 200), longestPauseMs);
      for (const heard of onNews) heard(false, asked);
    } finally {
      clearInterval(counting);
      clearTimeout(overdue);
      release();
    }
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      hurrying = new AbortController();
      await syncOnce();
      const restMs = Math.max(begunAt + leastBetweenMs - performance.now(), pauseMs);
      // Nothing that comes up meanwhile is lost: the next request tells of it.
      await sleep(Math.max(restMs, 0), undefined, { signal: closing.signal }).catch(
        () => undefined,
      );
    }
  }

  /** Of a request that begins from now on. */
  function nextNews(): Promise<boolean> {
    const last = number;
    return new Promise((resolve) => {
      const heard = (isNews: boolean, asked: number) => {
        if (asked > last) end(isNews);
      };
      const end = (isNews: boolean) => {
        clearTimeout(overdue);
        onNews.delete(heard);
        resolve(isNews);
      };
      const overdue = setTimeout(() => end(false), refreshedWithinMs);
      onNews.add(heard);
    });
  }

  async function askAnew(): Promise<boolean> {
    await refreshing;
    const restMs = Math.max(refreshedAt + refreshedEveryMs - performance.now(), 0);
    await sleep(restMs, undefined, { signal: closing.signal }).catch(() => undefined);
    upcoming = undefined;
    if (closing.signal.aborted) return false;
    refreshedAt = performance.now();
    wantsAll = true;
    hurry();
    refreshing = nextNews();
    return refreshing;
  }

  const running = run();
  return {
    hurry,
    hasFreshNews: () => !isAway,
    async refresh() {
      if (isAway) return false;
      // Asked before this caller came, the one under way may have been answered before, too.
      upcoming ??= askAnew();
      return upcoming;
    },
    async close() {
      closing.abort();
      await running;
      // Replicas are not kept for a gateway that is gone, nor is it waited for.
      const told = { ...nothing, ...report(), number: nextNumber(), leaves: true };
      await api.sync(told, AbortSignal.timeout(farewellMs)).catch(() => undefined);
    },
  };
}

const nothing = { revision: null, models_revision: null };

function isLate(): Error {
  return new Error(`private-api did not answer within ${answeredWithinMs} ms`);
}

function demandIn({ demand }: Pick<GatewayReport, 'demand'>): string {
  return JSON.stringify(demand);
}
