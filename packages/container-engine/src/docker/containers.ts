import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import {
  hasEnded,
  type ContainerDetails,
  type ContainerSpec,
  type ContainerState,
  type ContainerSummary,
  type Labels,
  type StartOutcome,
} from '../container-engine.js';
import { EngineError, isEngineProblem } from '../engine-error.js';
import { boundedCall, type EngineConnection } from './connection.js';
import { createOptions } from './create-options.js';
import { tellsOfLostTask } from './errors.js';
import { labelFilters } from './label-filters.js';

export async function createContainer(
  { docker, deadlines }: EngineConnection,
  spec: ContainerSpec,
  signal: AbortSignal,
): Promise<string> {
  // Named apart, query and body: dockerode puts all of the body into the address otherwise.
  const request = { _query: { name: spec.name }, _body: createOptions(spec) };
  const created = await boundedCall(
    `container ${spec.name}`,
    deadlines.callMs,
    signal,
    (abortSignal) => docker.createContainer({ ...request, abortSignal }),
  );
  return created.id;
}

/** The engine keeps with the container why it did not start; without that the failure is the call's. */
export async function startContainer(
  connection: EngineConnection,
  container: string,
  signal: AbortSignal,
): Promise<StartOutcome> {
  const { docker, deadlines } = connection;
  try {
    await boundedCall(
      `start of ${container}`,
      deadlines.slowCallMs,
      signal,
      (abortSignal) => docker.getContainer(container).start({ abortSignal }) as Promise<unknown>,
    );
    return { started: true };
  } catch (error) {
    if (isStatus(error, 304)) return { started: true };
    if (!isEngineProblem(error, 'refused', 'failed', 'network_absent')) throw error;
    const after = await inspectContainer(connection, container, signal);
    if (after?.startError === undefined) throw error;
    if (tellsOfLostTask(after.startError)) {
      const detail = `start of ${container}: ${after.startError}`;
      throw new EngineError('failed', detail, { cause: error });
    }
    return { started: false, startError: after.startError };
  }
}

export async function stopContainer(
  { docker, deadlines }: EngineConnection,
  container: string,
  graceMs: number,
  signal: AbortSignal,
): Promise<void> {
  const deadlineMs = graceMs + deadlines.slowCallMs;
  await unlessStopped(
    boundedCall(
      `stop of ${container}`,
      deadlineMs,
      signal,
      (abortSignal) =>
        docker
          .getContainer(container)
          .stop({ t: Math.ceil(graceMs / 1000), abortSignal }) as Promise<unknown>,
    ),
  );
}

export async function removeContainer(
  connection: EngineConnection,
  container: string,
  signal: AbortSignal,
): Promise<void> {
  const { docker, deadlines } = connection;
  await boundedCall(
    `removal of ${container}`,
    deadlines.slowCallMs,
    signal,
    async (abortSignal) => {
      for (;;) {
        try {
          await docker.getContainer(container).remove({ force: true, v: true, abortSignal });
          return;
        } catch (error) {
          if (isStatus(error, 404)) return;
          // Somebody else is removing it: gone is when that is done.
          if (!isStatus(error, 409)) throw error;
        }
        await sleep(100, undefined, { signal: abortSignal });
      }
    },
  );
}

export async function inspectContainer(
  { docker, deadlines }: EngineConnection,
  container: string,
  signal: AbortSignal,
): Promise<ContainerDetails | undefined> {
  try {
    const found = await boundedCall(
      `container ${container}`,
      deadlines.callMs,
      signal,
      (abortSignal) => docker.getContainer(container).inspect({ abortSignal }),
    );
    const state = found.State.Status as ContainerState;
    return {
      id: found.Id,
      name: found.Name.replace(/^\//, ''),
      state,
      labels: found.Config.Labels,
      volumes: volumesOf(found.Mounts),
      exitCode: found.State.ExitCode,
      outOfMemory: found.State.OOMKilled,
      startError: found.State.Error === '' ? undefined : found.State.Error,
      startedAt: timeOf(found.State.StartedAt),
      // The engine keeps the time of an earlier end when it is started again.
      endedAt: hasEnded(state) ? timeOf(found.State.FinishedAt) : undefined,
      addresses: addressesOf(found.NetworkSettings.Networks),
    };
  } catch (error) {
    if (isEngineProblem(error, 'container_absent')) return undefined;
    throw error;
  }
}

/** Of one that does not run they are empty. */
function addressesOf(networks: Record<string, { IPAddress: string }>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(networks).flatMap(([name, { IPAddress }]) =>
      IPAddress === '' ? [] : [[name, IPAddress]],
    ),
  );
}

/** What has not happened has the zero of Go's time. */
function timeOf(text: string): Date | undefined {
  return text.startsWith('0001-') ? undefined : new Date(text);
}

export async function listContainers(
  { docker, deadlines }: EngineConnection,
  labels: Labels,
  signal: AbortSignal,
): Promise<ContainerSummary[]> {
  const found = await boundedCall('list of containers', deadlines.callMs, signal, (abortSignal) =>
    docker.listContainers({ all: true, filters: labelFilters(labels), abortSignal }),
  );
  return found.map((info: Docker.ContainerInfo) => ({
    id: info.Id,
    name: (info.Names[0] ?? '').replace(/^\//, ''),
    state: info.State as ContainerState,
    labels: info.Labels,
    volumes: volumesOf(info.Mounts),
  }));
}

/** The engine names them in no order. */
function volumesOf(mounts: readonly { Type: string; Name?: string | undefined }[]): string[] {
  return mounts
    .flatMap(({ Type, Name }) => (Type === 'volume' && Name !== undefined ? [Name] : []))
    .sort();
}

/** 304 and 409 say that it does not run, which is what was wanted. */
async function unlessStopped(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!isStatus(error, 304) && !isStatus(error, 409)) throw error;
  }
}

function isStatus(error: unknown, status: number): boolean {
  const foreign = error instanceof EngineError ? error.cause : error;
  return (foreign as { statusCode?: number } | undefined)?.statusCode === status;
}
