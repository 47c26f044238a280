import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { zipToTar } from '@inference-server/archive';
import { discardFile, type ReceivedFile } from '@inference-server/blob-store';
import {
  isEngineProblem,
  modelContainer,
  runsAsRoot,
  stagingContainer,
  type ContainerSpec,
  type SandboxOptions,
} from '@inference-server/container-engine';
import { parseImageReference, refusalOfImage, refusalOfRights } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import { requireEmptyImage } from '../empty-image.js';
import { requireModelVolume, requireMounted } from '../model-volume.js';
import { labelNames } from '../names.js';
import { sideBySide } from '../side-by-side.js';
import { uncut } from '../uncut.js';
import type { AttemptRun } from './attempt-run.js';
import { removeTraces } from './clean-up.js';
import { fetchZip } from './fetch-zip.js';
import { folderTar } from './folder-tar.js';
import { requireImage } from './image.js';
import { failed, notAllowed, type Outcome } from './outcome.js';
import { sandboxUnder } from './sandbox-under.js';
import { spoolName } from './spool-name.js';
import { createModel, type OwnVolumes } from './start.js';

/** The model's container, ready to be started, and the helper that filled its input. */
export interface Staged {
  kind: 'staged';
  container: string;
  helper: string;
  volumes: OwnVolumes;
}

/**
 * Brings to the engine what the run needs: image, volumes, input, the model's files, the container.
 * A name that is taken is of an earlier try at this very attempt, and a model volume may have been
 * swept away under it: its traces are removed, once.
 */
export async function stageAttempt(run: AttemptRun): Promise<Staged | Outcome> {
  try {
    return await stage(run);
  } catch (error) {
    if (!isEngineProblem(error, 'name_in_use', 'in_use', 'volume_absent')) throw error;
    await run.requireLease();
    await removeTraces(run);
    return await stage(run);
  }
}

/** What does not need each other goes side by side. */
async function stage(run: AttemptRun): Promise<Staged | Outcome> {
  const { work, signal } = run;
  // It is discarded also when what goes beside it fails: the next try brings it again.
  const spooled: ReceivedFile[] = [];
  try {
    const [input, ready] = await sideBySide(
      signal,
      async (bounds) => {
        const zip = await fetchZip(() => run.api.openInput(run.held, bounds), work.input, {
          folder: run.settings.spoolFolder,
          name: spoolName(run.held, 'input'),
          signal: bounds,
          onRetry: noteRetry(run),
        });
        spooled.push(zip);
        return zip;
      },
      (bounds) => prepare(run, bounds),
    );
    if (ready.kind !== 'prepared') return ready;
    const volumes = {
      ...volumesOf(run),
      ...(ready.modelVolume !== null && { [ready.modelVolume]: 'model-data' as const }),
    };
    const [refused, container] = await sideBySide(
      signal,
      (bounds) => fillVolumes(run, ready, input.path, bounds),
      () => createModelContainer(run, ready, volumes),
    );
    if (refused !== undefined) return refused;
    if (typeof container !== 'string') return container;
    return { kind: 'staged', container, helper: ready.helper, volumes };
  } finally {
    await Promise.all(spooled.map(discardFile));
  }
}

function noteRetry({ held, logger }: AttemptRun): (error: unknown) => void {
  const { taskUid, attempt } = held;
  return (error) => {
    logger.warn({ taskUid, attempt, reason: messageOf(error) }, 'a zip is fetched again');
  };
}

interface Prepared {
  kind: 'prepared';
  helper: string;
  modelVolume: string | null;
  /** Whether its user is another than root, and could not write to a fresh volume. */
  needsOpenOutput: boolean;
  sandbox: SandboxOptions;
}

async function prepare(run: AttemptRun, signal: AbortSignal): Promise<Prepared | Outcome> {
  const { engine, work, settings } = run;
  const { container_tag: tag, human_readable_id: humanReadableId, rights } = work;
  const forbidden =
    refusalOfImage(settings.policy, tag) ??
    refusalOfRights(settings.policy, { humanReadableId, image: tag, rights });
  if (forbidden !== undefined) return notAllowed(forbidden);
  const reference = parseImageReference(tag).full;
  const [image] = await sideBySide(
    signal,
    (bounds) =>
      requireImage(
        engine,
        {
          reference,
          policy: work.pull_policy,
          credentials: settings.credentialsOf(reference),
          retryMs: settings.imageRetryMs,
        },
        bounds,
      ),
    () => createVolumes(run),
  );
  if ('kind' in image) return image;
  const sandbox = sandboxUnder(settings.policy, image, rights);
  if ('kind' in sandbox) return sandbox;
  const [helper, modelVolume] = await sideBySide(
    signal,
    () => createHelper(run),
    (bounds) => modelVolumeOf(run, bounds),
  );
  const needsOpenOutput = !runsAsRoot(sandbox.user ?? image.user);
  return { kind: 'prepared', helper, modelVolume, needsOpenOutput, sandbox };
}

async function createVolumes(run: AttemptRun): Promise<void> {
  const { engine, own } = run;
  await run.requireLease();
  const create = (kind: 'input' | 'output') =>
    engine.createVolume({ name: own.name(kind), labels: own.labels(kind) }, uncut);
  await sideBySide(
    uncut,
    () => create('input'),
    () => create('output'),
  );
}

/** Of no image of a model's: whatever that holds, it is filled. */
async function createHelper(run: AttemptRun): Promise<string> {
  const { engine, own } = run;
  const helper = stagingContainer({
    name: own.name('stage'),
    image: await requireEmptyImage(engine),
    labels: own.labels('stage'),
    mounts: (['input', 'output'] as const).map((kind) => ({
      volume: own.name(kind),
      path: join(stagingFolder, kind),
      readOnly: false,
    })),
  });
  return createMounting(run, helper, volumesOf(run));
}

async function modelVolumeOf(run: AttemptRun, signal: AbortSignal): Promise<string | null> {
  const { work, own, modelVolumes } = run;
  const files = work.model_files;
  if (files === null) return null;
  const version = { [labelNames.modelVersion]: work.model_version_id };
  const openTar = async (bounds: AbortSignal): Promise<Readable> => {
    const zip = await fetchZip(() => run.api.openModelFiles(run.held, bounds), files, {
      folder: run.settings.spoolFolder,
      name: spoolName(run.held, 'model'),
      signal: bounds,
      onRetry: noteRetry(run),
    });
    const tar = zipToTar(zip.path, { signal: bounds });
    tar.once('close', () => void discardFile(zip).catch(() => undefined));
    return tar;
  };
  return requireModelVolume(
    modelVolumes,
    {
      versionId: work.model_version_id,
      labels: (kind) => ({ ...own.labels(kind), ...version }),
      openTar,
    },
    signal,
  );
}

async function fillVolumes(
  { engine }: AttemptRun,
  { helper, needsOpenOutput }: Prepared,
  zipPath: string,
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  if (needsOpenOutput) {
    await engine.putArchive(helper, stagingFolder, folderTar('output', 0o777), signal);
  }
  const tar = zipToTar(zipPath, { signal });
  try {
    await engine.putArchive(helper, join(stagingFolder, 'input'), tar, signal);
    return undefined;
  } catch (error) {
    if (error instanceof AppError && error.code === 'ZIP_REFUSED') {
      return failed('bad_input', error.message);
    }
    throw error;
  }
}

/** The engine may refuse at once: an image without a command, or with a volume where it has a file. */
function createModelContainer(
  run: AttemptRun,
  { modelVolume, sandbox }: Prepared,
  volumes: OwnVolumes,
): Promise<string | Outcome> {
  const { own, work, allotment } = run;
  const spec = modelContainer({
    name: own.name('run'),
    image: parseImageReference(work.container_tag).full,
    labels: { ...own.labels('run'), [labelNames.devices]: allotment.gpus.join(' ') },
    volumes: { input: own.name('input'), output: own.name('output'), model: modelVolume },
    limits: allotment.limits,
    gpus: allotment.gpus,
    sandbox,
  });
  return createModel(run, volumes, () => createMounting(run, spec, volumes));
}

function volumesOf({ own }: AttemptRun): OwnVolumes {
  return { [own.name('input')]: 'input', [own.name('output')]: 'output' };
}

/** Creates a container on these volumes. */
async function createMounting(
  run: AttemptRun,
  spec: ContainerSpec,
  volumes: OwnVolumes,
): Promise<string> {
  await run.requireLease();
  const container = await run.engine.createContainer(spec, uncut);
  run.unstarted.add(container);
  await requireMounted(run.engine, container, volumes);
  return container;
}

const stagingFolder = '/inference-server-staging';
