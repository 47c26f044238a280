import type { ContainerDetails, ContainerExit } from '@inference-server/container-engine';
import { crashPoint, joinSignals } from '@inference-server/service-kit';
import { createDeviceWatch, untilDeviceGone, type DeviceWatch } from '../run/device-watch.js';
import { isEngineOutage, outlastEngineOutage } from '../run/engine-outage.js';
import { failed, fault, type Outcome } from '../run/outcome.js';
import { scratchOveruseOf } from '../run/overuse.js';
import { pause } from './bring-up.js';
import { joinGateways } from './gateways.js';
import { untilServing } from './readiness.js';
import { endOfExit, type EndWithoutLog } from './replica-end.js';
import { appPort, type Life } from './replica-run.js';

/**
 * Watches over the container of a replica: asks until it serves, says so, and resolves with how it ended; one that
 * does not serve in time, has lost its device, or writes too much is ended. When the life's signal aborts it
 * throws, and the container is left as it is.
 */
export async function hostContainer(
  life: Life,
  {
    container,
    isFound,
    noteEnd,
  }: {
    container: string;
    /** It was started by an earlier process. */
    isFound: boolean;
    noteEnd: (outcome: Outcome) => void;
  },
): Promise<EndWithoutLog> {
  const { engine, settings } = life;
  const done = new AbortController();
  const bounds = joinSignals(life.signal, done.signal);
  const { signal } = bounds;
  const deviceWatch = createDeviceWatch(engine, settings.gpuCheckMs);
  let hadServed = false;
  const becomesReady = async (found: ContainerDetails | undefined) => {
    // Nobody is told of it before: so it is known, by its order, whether it served an earlier process.
    const order = await life.confirmed;
    hadServed = isFound && order.has_served;
    if (isFound) {
      const joined = joinGateways(life, signal);
      // Whoever has served is told of before: its lease does not wait for gateways that an engine does not tell of.
      joined.catch(() => undefined);
      // This consumer may be in a container that was made anew, and would not reach it.
      if (!hadServed) await joined;
    }
    return untilReady(life, found, hadServed, signal);
  };
  try {
    const exited = untilExit(life, container, signal);
    // Also when nobody comes to wait for it.
    exited.catch(() => undefined);
    const found = await outlastEngineOutage(
      () => engine.inspectContainer(container, signal),
      signal,
    );
    const trouble = untilTrouble(life, container, deviceWatch, signal);
    trouble.catch(() => undefined);
    let end: ContainerExit | EndWithoutLog;
    const ready = becomesReady(found);
    ready.catch(() => undefined);
    const served = await Promise.race([exited, trouble, ready]);
    if (typeof served === 'string') {
      hadServed = true;
      life.onReady(served);
      crashPoint('replica_serves', life.id);
      // A container could be started, and do its work.
      noteEnd(failed('exit_code', 'It serves.'));
      end = await Promise.race([exited, trouble]);
    } else end = served;
    if ('reason' in end) {
      if (end.reason === 'engine') noteEnd(fault('device_lost', end.detail));
      await endContainer(life, container, end);
      return end;
    }
    life.mayRun = false;
    crashPoint('replica_ended', life.id);
    return await unlessDeviceLost(
      life,
      deviceWatch,
      endOfExit(end, { hadServed, isUnwatched: isFound }),
    );
  } finally {
    done.abort();
    bounds.release();
  }
}

/** An engine that is away for long does not end what runs: it is waited for. */
async function untilExit(
  { engine, engineWatch }: Life,
  container: string,
  signal: AbortSignal,
): Promise<ContainerExit> {
  for (;;) {
    try {
      return await engine.waitForExit(container, signal);
    } catch (error) {
      if (signal.aborted || !isEngineOutage(error)) throw error;
      engineWatch.suspect(error);
    }
    await pause(awayPauseMs, signal);
  }
}

/**
 * The address once it serves; never, where it has none: then it has ended. Who has served is not asked: with a call
 * under way many answer nothing else.
 */
async function untilReady(
  life: Life,
  found: ContainerDetails | undefined,
  hadServed: boolean,
  signal: AbortSignal,
): Promise<string | EndWithoutLog> {
  const { engine, own, hosting } = life;
  const host = found?.addresses[own.name('replica-network')];
  if (host === undefined) {
    if (found?.state === 'running') return startFailed('Its container has no address.');
    return new Promise(() => undefined);
  }
  if (hadServed) return `${host}:${appPort}`;
  const address = { host, port: appPort };
  const { startTimeoutMs } = hosting;
  const now = await outlastEngineOutage(() => engine.readClock(signal), signal);
  const usedMs = now.getTime() - (found?.startedAt ?? now).getTime();
  // The time may be over since nobody could be asked for its order.
  const leftMs = Math.max(leastMs, startTimeoutMs - usedMs);
  const lack = await untilServing(address, Math.min(leftMs, startTimeoutMs), signal);
  if (lack === undefined) return `${host}:${appPort}`;
  return startFailed(
    `It did not serve on port ${appPort} within ${startTimeoutMs / 1000} s: ${lack}`,
  );
}

function startFailed(detail: string): EndWithoutLog {
  return { reason: 'start_failed', detail, exit_code: null, out_of_memory: false };
}

/** Resolves once it is to be ended though it runs: its device is gone, or it writes too much. */
async function untilTrouble(
  life: Life,
  container: string,
  deviceWatch: DeviceWatch,
  signal: AbortSignal,
): Promise<EndWithoutLog> {
  const { gpuSource, settings, parts, confirmed } = life;
  const deviceGone = async (): Promise<EndWithoutLog> => {
    await confirmed;
    const { gpus } = parts;
    if (gpus.length === 0) return new Promise(() => undefined);
    if (settings.looksInside) deviceWatch.watch(container, signal);
    const everyMs = settings.gpuCheckMs;
    const { devices, reason } = await untilDeviceGone(gpuSource, { gpus, everyMs }, signal);
    const detail = `The device was lost: ${reason}`;
    parts.accuse(devices, detail);
    return { reason: 'engine', detail, exit_code: null, out_of_memory: false };
  };
  const overuse = async (): Promise<EndWithoutLog> => {
    const detail = await scratchOveruseOf(life, container, signal);
    return { reason: 'exited', detail, exit_code: null, out_of_memory: false };
  };
  return Promise.race([deviceGone(), overuse()]);
}

/** What cannot be ended stays for now, with its device: the removal that follows finds that too. */
async function endContainer(life: Life, container: string, end: EndWithoutLog): Promise<void> {
  const { engine, settings, signal } = life;
  const graceMs = end.reason === 'start_failed' ? settings.containerGraceMs : 0;
  const stop = () => engine.stopContainer(container, graceMs, signal);
  await outlastEngineOutage(stop, signal).then(
    () => (life.mayRun = false),
    () => signal.throwIfAborted(),
  );
}

/** A program whose device has gone fails in a way of its own: see `unlessDeviceLost` of an attempt. */
async function unlessDeviceLost(
  { parts, gpuSource, signal }: Life,
  { trouble }: DeviceWatch,
  end: EndWithoutLog,
): Promise<EndWithoutLog> {
  const { gpus } = parts;
  if (gpus.length === 0 || end.reason !== 'exited' || end.out_of_memory) return end;
  const lost = await gpuSource.troubleWith(gpus, signal);
  if (lost === undefined && trouble === undefined) return end;
  const reason = lost?.reason ?? `nvidia-smi said in its container: ${trouble ?? ''}.`;
  const detail = `The device was lost: ${reason} ${end.detail}`;
  if (lost === undefined) parts.suspect(gpus, detail);
  else parts.accuse(lost.devices, detail);
  return { ...end, reason: 'engine', detail };
}

const awayPauseMs = 1_000;
const leastMs = 10_000;
