import { setTimeout as sleep } from 'node:timers/promises';
import {
  EngineError,
  type ContainerExit,
  type ContainerLimits,
} from '@inference-server/container-engine';
import type { DeviceTrouble } from '../devices/gpu-source.js';
import { crashPoint } from '@inference-server/service-kit';
import { uncut } from '../uncut.js';
import type { AttemptRun } from './attempt-run.js';
import { outlastEngineOutage } from './engine-outage.js';
import { untilDeviceGone } from './device-watch.js';
import { failed, fault, type Outcome } from './outcome.js';
import { overuseOf } from './overuse.js';
import { startModel, type OwnVolumes } from './start.js';

/** The main process ended with exit code 0. */
export interface Succeeded {
  kind: 'succeeded';
}

/** A container that is to run, or that runs or ran already under an earlier holder of the attempt. */
export interface Runnable {
  container: string;
  /** What is of no use once the container runs; undefined when it is gone. */
  helper?: string;
  /** Its volumes, when it is to be started. */
  volumes?: OwnVolumes;
  /** By the engine's clock. Undefined: it is still to be started. */
  startedAt?: Date;
  /** Since then, when it was looked at, by the same clock: ours may be another. */
  usedMs?: number;
  /** By the engine's clock. Undefined: it is to be started, or it ran still when it was looked at. */
  endedAt?: Date;
}

/**
 * Runs a container to its end, to the end of its time, or until it has written more than it may. One
 * that had ended before is judged by how it ended and how long it ran, whatever the time is now. When
 * the run's signal aborts it throws, and the container is left as it is.
 */
export async function executeAttempt(
  run: AttemptRun,
  { container, helper, volumes = {}, startedAt, usedMs = 0, endedAt }: Runnable,
): Promise<Succeeded | Outcome> {
  const { engine, gpuSource, settings, signal } = run;
  const limitMs = run.work.timeout_s * 1000;
  const done = new AbortController();
  const bounds = AbortSignal.any([signal, done.signal]);
  // Before the start, so that the end of a very short run is not missed.
  const exited = engine.waitForExit(container, bounds);
  exited.catch(() => undefined);
  try {
    if (startedAt === undefined) {
      if (!(await run.allotment.take(signal))) return notAllotted(run);
      await run.requireLease();
      const refused = await startModel(run, container, volumes);
      if (refused !== undefined) return refused;
      crashPoint('container_started', run.held.taskUid);
    }
    if (startedAt !== undefined && endedAt !== undefined) {
      const exit = await exited;
      run.mayRun = false;
      return await unlessDeviceLost(run, judgeEnded(run, exit, { startedAt, endedAt }, true));
    }
    if (helper !== undefined) {
      // Its work is done; if this fails, the cleaning at the end removes it.
      engine.removeContainer(helper, uncut).catch(() => undefined);
    }
    run.usage.watch(container, bounds);
    const { gpus } = run.allotment;
    const hasDevices = gpus.length > 0;
    if (hasDevices && settings.looksInside) run.deviceWatch.watch(container, bounds);
    const end = await Promise.race([
      exited,
      overdueAfter(limitMs - usedMs, bounds).then(() => ({
        graceMs: settings.containerGraceMs,
        reason: 'timed_out' as const,
        detail: overdueOf(run),
      })),
      // Without grace: it would go on writing.
      overuseOf(run, container, bounds).then((overuse) => ({ graceMs: 0, ...overuse })),
      ...(hasDevices
        ? [untilDeviceGone(gpuSource, { gpus, everyMs: settings.gpuCheckMs }, bounds)]
        : []),
    ]);
    if ('exitCode' in end) {
      run.mayRun = false;
      return await unlessDeviceLost(run, judge(end, run.allotment.limits, startedAt !== undefined));
    }
    if ('areGone' in end) {
      await run.requireLease();
      return await endWithoutDevice(run, container, end, exited);
    }
    if (end.reason === 'timed_out') {
      // The clock of a process that stood still is late: the run may have ended long before.
      const look = () => engine.inspectContainer(container, bounds);
      const found = await outlastEngineOutage(look, bounds);
      if (found?.startedAt !== undefined && found.endedAt !== undefined) {
        const times = { startedAt: found.startedAt, endedAt: found.endedAt };
        const exit = await exited;
        run.mayRun = false;
        const wasUnwatched = startedAt !== undefined;
        return await unlessDeviceLost(run, judgeEnded(run, exit, times, wasUnwatched));
      }
    }
    await run.requireLease();
    const stop = () => engine.stopContainer(container, end.graceMs, bounds);
    try {
      await outlastEngineOutage(stop, bounds);
    } catch (error) {
      return await deviceLostOr(run, error, failed(end.reason, end.detail));
    }
    const { exitCode } = await exited;
    run.mayRun = false;
    return await unlessDeviceLost(run, failed(end.reason, end.detail, exitCode));
  } finally {
    done.abort();
  }
}

/** private-api's books say that it is free, so somebody's are wrong. */
function notAllotted({ held, allotment, logger }: AttemptRun): Outcome {
  const { taskUid, attempt } = held;
  logger.warn(
    { taskUid, attempt, devices: allotment.gpus },
    'what a run was to have did not become free',
  );
  const detail = 'What it was to have did not become free in 5 minutes.';
  return { kind: 'released', detail, exitCode: null };
}

/**
 * Ends a container that cannot go on. What hangs in a call of its driver often cannot be killed
 * (NVIDIA/nvidia-docker#1553): then it stays for now, with its device, and the fault is the device's all the same.
 */
async function endWithoutDevice(
  run: AttemptRun,
  container: string,
  { devices, reason }: DeviceTrouble,
  exited: Promise<ContainerExit>,
): Promise<Succeeded | Outcome> {
  const { engine, allotment, signal } = run;
  const detail = lostDetail(reason);
  allotment.accuse(devices, detail);
  try {
    // A stop asks before it kills, and what is asked may end with 0, its output half written.
    const before = await engine.inspectContainer(container, signal);
    await engine.stopContainer(container, 0, signal);
    const { exitCode } = await exited;
    run.mayRun = false;
    const endedWell = before?.endedAt !== undefined && exitCode === 0;
    return endedWell ? { kind: 'succeeded' } : fault('device_lost', detail, exitCode);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof EngineError)) throw error;
    return fault('device_lost', `${detail} It could not be ended: ${error.message}`);
  }
}

/**
 * A program whose device has gone fails in a way of its own, or hangs: whether it is there, its driver knows. What was
 * seen in the container is only a suspicion against the device, for a container is not to be trusted.
 */
async function unlessDeviceLost(
  { allotment, gpuSource, deviceWatch, signal }: AttemptRun,
  end: Succeeded | Outcome,
): Promise<Succeeded | Outcome> {
  const { gpus } = allotment;
  const mayBeLost = end.kind === 'failed' && ['exit_code', 'timed_out'].includes(end.reason);
  if (gpus.length === 0 || !mayBeLost) return end;
  const lost = await gpuSource.troubleWith(gpus, signal);
  const inside = deviceWatch.trouble;
  if (lost === undefined && inside === undefined) return end;
  const reason = lost?.reason ?? `nvidia-smi said in its container: ${inside ?? ''}.`;
  const detail = `${lostDetail(reason)} ${end.detail}`;
  if (lost === undefined) allotment.suspect(gpus, detail);
  else allotment.accuse(lost.devices, detail);
  return fault('device_lost', detail, end.exitCode);
}

/** Of a container that could not be ended: a lost device may be why. Throws the error where it is not. */
async function deviceLostOr(run: AttemptRun, error: unknown, end: Outcome): Promise<Outcome> {
  run.signal.throwIfAborted();
  if (!(error instanceof EngineError)) throw error;
  const detail = `${end.detail} It could not be ended: ${error.message}`;
  const judged = await unlessDeviceLost(run, { ...end, detail });
  if (judged.kind !== 'fault') throw error;
  return judged;
}

function lostDetail(reason: string): string {
  return `The device was lost: ${reason}`;
}

function judgeEnded(
  run: AttemptRun,
  exit: ContainerExit,
  { startedAt, endedAt }: { startedAt: Date; endedAt: Date },
  wasUnwatched: boolean,
): Succeeded | Outcome {
  const tookTooLong = endedAt.getTime() - startedAt.getTime() > run.work.timeout_s * 1000;
  return tookTooLong
    ? failed('timed_out', overdueOf(run), exit.exitCode)
    : judge(exit, run.allotment.limits, wasUnwatched);
}

function overdueOf({ work }: AttemptRun): string {
  return `The run took longer than its ${work.timeout_s} s.`;
}

/**
 * The exit code comes first: with 0, the memory that a child wanted is none of our business. The end
 * of a container that nobody watched was from outside when a signal for that ended it: the engine
 * that stopped and came back has forgotten that it did.
 */
function judge(
  { exitCode, outOfMemory, startError, interrupted }: ContainerExit,
  { fileBytes }: ContainerLimits,
  wasUnwatched: boolean,
): Succeeded | Outcome {
  if (exitCode === 0) return { kind: 'succeeded' };
  // What SIGTERM ended did not end for want of memory, be a child of it gone for that.
  if (outOfMemory && !(interrupted && exitCode === terminated)) {
    return failed('out_of_memory', 'The container used more memory than it may.', exitCode);
  }
  if (interrupted || (wasUnwatched && endedFromOutside.has(exitCode))) {
    return fault(
      'interrupted',
      `The container was interrupted from outside (exit code ${exitCode}).`,
      exitCode,
    );
  }
  if (startError !== undefined) {
    return failed('start_failed', `The container could not be started: ${startError}`, exitCode);
  }
  if (exitCode === fileTooLong) {
    const detail = `The run was ended for writing a file of more bytes than one may have (allowed: ${fileBytes}).`;
    return failed('out_of_disk', detail, exitCode);
  }
  return failed(
    'exit_code',
    `The container ended with exit code ${exitCode}${hintOf(exitCode)}.`,
    exitCode,
  );
}

/** An engine with cgroup v1 may not tell that it was memory (container-engine, `docker/exit.ts`). */
function hintOf(exitCode: number): string {
  return exitCode === killed ? ': it was killed, as the kernel does for want of memory' : '';
}

/** 128 and the numbers of SIGKILL and SIGTERM. */
const killed = 137;
const terminated = 143;
const endedFromOutside = new Set([killed, terminated]);

/** 128 and the number of SIGXFSZ. */
const fileTooLong = 153;

/** In steps: the longest timer that there is has 24 days. */
async function overdueAfter(limitMs: number, signal: AbortSignal): Promise<'overdue'> {
  const end = performance.now() + limitMs;
  for (let leftMs = limitMs; leftMs > 0; leftMs = end - performance.now()) {
    await sleep(Math.min(leftMs, stepMs), undefined, { signal });
  }
  return 'overdue';
}

const stepMs = 24 * 3600 * 1000;
