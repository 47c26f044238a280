import type { ContainerEngine } from '@inference-server/container-engine';
import { labelNames, type Names } from '../names.js';
import type { PrivateApiClient } from '../private-api-client.js';
import { retryPassing } from '../retry.js';
import type { Adopted } from './attempt.js';
import type { Claim } from './claim.js';

/**
 * Takes over what earlier processes of this consumer have left: the attempts that private-api says
 * they hold, and those of which there is a container. One that is refused is not ours any more; its
 * traces are leftovers. Throws EngineError when the engine does not answer: whether a container runs
 * must be known.
 */
export async function adoptAttempts(
  { engine, api, names }: { engine: ContainerEngine; api: PrivateApiClient; names: Names },
  holder: string,
  isActive: (taskUid: string, attempt: number) => boolean,
  signal: AbortSignal,
): Promise<{ claim: Claim; adopted: Adopted }[]> {
  const patience = { signal, forMs: Number.POSITIVE_INFINITY };
  const held = await retryPassing(() => api.heldAttempts(signal), patience);
  const wanted = new Map<string, { taskUid: string; attempt: number; container?: string }>();
  const want = (taskUid: string, attempt: number, container?: string) => {
    if (isActive(taskUid, attempt)) return;
    wanted.set(`${taskUid}.${attempt}`, {
      taskUid,
      attempt,
      ...(container !== undefined && { container }),
    });
  };
  for (const { task_uid: taskUid, attempt } of held) want(taskUid, attempt);
  for (const { id, labels } of await engine.listContainers(names.own, signal)) {
    const taskUid = labels[labelNames.task];
    if (taskUid === undefined || labels[labelNames.kind] !== 'run') continue;
    want(taskUid, Number(labels[labelNames.attempt]), id);
  }
  const adoptions = [];
  for (const { taskUid, attempt, container } of wanted.values()) {
    const answer = await retryPassing(
      () => api.adopt({ taskUid, attempt }, holder, signal),
      patience,
    );
    if (answer.outcome !== 'won') continue;
    const claim = { held: { taskUid, attempt, epoch: answer.epoch, holder }, work: answer.work };
    adoptions.push({ claim, adopted: await whatIsThere(engine, container, signal) });
  }
  return adoptions;
}

async function whatIsThere(
  engine: ContainerEngine,
  container: string | undefined,
  signal: AbortSignal,
): Promise<Adopted> {
  if (container === undefined) return 'missing';
  const found = await engine.inspectContainer(container, signal);
  if (found?.startedAt === undefined) return 'missing';
  return { container, startedAt: found.startedAt };
}
