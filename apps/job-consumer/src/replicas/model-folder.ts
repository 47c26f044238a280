import { Readable } from 'node:stream';
import { tarEnd, tarHeader, tarPadding, zipToTar } from '@inference-server/archive';
import { discardFile } from '@inference-server/blob-store';
import type { ReplicaOrder } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import { encodeModelContract } from '@inference-server/protos';
import { requireModelVolume } from '../model-volume.js';
import { labelNames } from '../names.js';
import { fetchZip } from '../run/fetch-zip.js';
import type { ReplicaRun } from './replica-run.js';

/**
 * The name of the volume with what is on /model of a runtime: its contract, and its files below `files/`, or its
 * zip as it is where that brings a contract of its own. Shared by all replicas of the version.
 */
export function runtimeModelVolume(run: ReplicaRun, signal: AbortSignal): Promise<string> {
  const { order, own, modelVolumes } = run;
  const version = { [labelNames.modelVersion]: order.model_version_id };
  return requireModelVolume(
    modelVolumes,
    {
      versionId: order.model_version_id,
      labels: (kind) => ({ ...own.labels(kind), ...version }),
      openTar: (bounds) => openModelTar(run, bounds),
    },
    signal,
  );
}

async function openModelTar(run: ReplicaRun, signal: AbortSignal): Promise<Readable> {
  const { order } = run;
  const files = await openFiles(run, order.has_contract_file ? undefined : 'files', signal);
  if (order.has_contract_file) {
    if (files === undefined) throw new AppError('ZIP_REFUSED', 'The model has no files.');
    return files;
  }
  const tar = Readable.from(withContract(order, files), { objectMode: false });
  // Also when nobody reads it: what has failed by then is told to who does.
  files?.on('error', () => undefined);
  tar.once('close', () => files?.destroy());
  return tar;
}

async function* withContract(
  { contract, human_readable_id: name }: ReplicaOrder,
  files: Readable | undefined,
): AsyncGenerator<Buffer> {
  const bytes = encodeModelContract(contract, name);
  const modified = new Date(0);
  yield tarHeader({ name: './', mode: 0o755, bytes: 0, modified });
  yield tarHeader({ name: 'contract.protobin', mode: 0o644, bytes: bytes.length, modified });
  yield Buffer.concat([bytes, tarPadding(bytes.length)]);
  if (files !== undefined) {
    for await (const chunk of files) yield chunk as Buffer;
  } else {
    yield tarHeader({ name: 'files/', mode: 0o755, bytes: 0, modified });
    yield tarEnd;
  }
}

/** The zip of the model as a tar, below a folder of that; undefined: it has none. */
async function openFiles(
  { api, order, holder, settings, logger }: ReplicaRun,
  below: string | undefined,
  signal: AbortSignal,
): Promise<Readable | undefined> {
  const { id, model_files: expected } = order;
  if (expected === null) return undefined;
  const zip = await fetchZip(() => api.openReplicaModelFiles(id, holder, signal), expected, {
    folder: settings.spoolFolder,
    name: `replica-${id}-model`,
    signal,
    onRetry: (error) => {
      logger.warn({ replica: id, reason: messageOf(error) }, 'a zip is fetched again');
    },
  });
  const tar = zipToTar(zip.path, { below, signal });
  tar.once('close', () => void discardFile(zip).catch(() => undefined));
  return tar;
}
