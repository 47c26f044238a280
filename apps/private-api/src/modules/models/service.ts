import Value from 'typebox/value';
import {
  Capability,
  couldRun,
  needsInWords,
  parseLabels,
  refusalOfImage,
  refusalOfRights,
  type Capacity,
  type Model,
  type Needs,
  type Policy,
  type PolicyRefusal,
  type Rights,
  type UnusedModelVersions,
} from '@inference-server/contracts';
import type { StagingSpace } from '@inference-server/blob-store';
import { AppError } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Installation } from '../../database/installation.js';
import { readAgain } from '../../database/read-again.js';
import type { ZipUploadReader } from '../../http/zip-upload.js';
import type { BlobService } from '../blobs/service.js';
import type { ConsumerRepository } from '../consumers/repository.js';
import type { Quotas } from '../quotas/quotas.js';
import { contractOf, kindOf, requireOfKind, type Registration } from './kinds.js';
import { createModelFiles } from './model-files.js';
import { refused } from './refused.js';
import type { ModelSource } from './sources/model-source.js';
import {
  modelNotFound,
  type ModelRepository,
  type NewModel,
  type Publisher,
} from './repository.js';

export type ModelService = ReturnType<typeof createModelService>;

/** Who registers or changes a model, and with how much at least, as far as it is declared. */
export interface ModelPost extends Publisher {
  declaredBytes: number;
}

/** The life of a model: a name, and under it an image with the files for /model, in versions. */
export function createModelService(deps: {
  models: ModelRepository;
  consumers: Pick<ConsumerRepository, 'capacities'>;
  blobs: BlobService;
  sources: ModelSource;
  /** Where what is fetched is received. */
  space: StagingSpace;
  quotas: Quotas;
  newVersionId: () => string;
  installation: Pick<Installation, 'id'>;
  /** What the operator allows. */
  policy: Policy;
  /** What a model may ask for at most. */
  limits: {
    runTimeoutS: number;
    gpuCount: number;
    gpuMemoryMib: number;
    cpus: number;
    memoryMib: number;
    shmMib: number;
    retentionS: number;
    inputRetentionS: number;
    logRetentionS: number;
    replicas: number;
    minReplicas: number;
    fetchedBytes: number;
  };
  logger: Logger;
}) {
  const { models, blobs, limits, logger } = deps;
  const modelFiles = createModelFiles({
    ...{ blobs, sources: deps.sources, space: deps.space, maxBytes: limits.fetchedBytes },
    requireRoom,
  });

  return {
    async register(
      registration: Registration,
      { by, onlyOf, declaredBytes }: ModelPost,
      upload: ZipUploadReader,
      signal: AbortSignal,
    ): Promise<Model> {
      requireWithinLimits(registration);
      requireAllowed(registration);
      if ((await models.find(registration.human_readable_id)) !== undefined) throw modelExists();
      await models.requireNoNamesake(registration.human_readable_id, onlyOf);
      if (registration.model_available === true) await requireRoom(by.owner, declaredBytes);
      const there = await deps.consumers.capacities();
      const model = await receive(registration, by, upload, signal);
      const insert = () => models.insert(model, onlyOf);
      try {
        await requireStorable(model);
        const inserted = await insert().catch((error: unknown) => readAgain(error, insert, logger));
        return withWarnings(inserted, there);
      } catch (error) {
        await abandonFiles(model);
        // Two registrations of one name at the same time: the database lets one in.
        throw error instanceof AppError && error.code === 'CONFLICT' ? modelExists() : error;
      }
    },

    /**
     * The model at its next version, or at the one that it has when that is the same. Throws FORBIDDEN
     * when it is another's.
     */
    async put(
      registration: Registration,
      { by, onlyOf, declaredBytes }: ModelPost,
      upload: ZipUploadReader,
      signal: AbortSignal,
    ): Promise<Model> {
      requireWithinLimits(registration);
      requireAllowed(registration);
      const there = await deps.consumers.capacities();
      await models.requireOwner(registration.human_readable_id, onlyOf);
      await models.requireNoNamesake(registration.human_readable_id, onlyOf);
      if (registration.model_available === true) await requireRoom(by.owner, declaredBytes);
      const model = await receive(registration, by, upload, signal);
      const put = () => models.put(model, onlyOf);
      try {
        await requireStorable(model);
        const { model: after, isNewVersion } = await put().catch((error: unknown) =>
          readAgain(error, put, logger),
        );
        if (!isNewVersion) await abandonFiles(model);
        return withWarnings(after, there);
      } catch (error) {
        await abandonFiles(model);
        throw error;
      }
    },

    async get(humanReadableId: string): Promise<Model> {
      const model = await models.find(humanReadableId);
      if (model === undefined) throw modelNotFound();
      return model;
    },

    /** Its files go with a sweep, when the last of its tasks has ended. */
    async delete(humanReadableId: string, publisher: Publisher): Promise<void> {
      if (!(await models.delete(humanReadableId, publisher))) throw modelNotFound();
    },

    list: () => models.list(),

    async unusedVersions(versionIds: readonly string[]): Promise<UnusedModelVersions> {
      return {
        installation_id: await deps.installation.id(),
        unused: await models.unused(versionIds),
      };
    },
  };

  /** Throws QUOTA_EXCEEDED when the owner may not store so many bytes more. */
  async function requireRoom(owner: string, bytes: number): Promise<void> {
    const refusal = await deps.quotas.refusalOfBytes(owner, bytes);
    if (refusal !== undefined) throw refusal;
  }

  /** The same for what was received. */
  async function requireStorable({ by, files }: NewModel): Promise<void> {
    if (files === null) return;
    await requireRoom(by.owner, files.bytes);
    deps.quotas.addBytes(by.owner, files.bytes);
  }

  /** Throws FORBIDDEN, with the rule of the policy. */
  function requireAllowed(asked: Registration): void {
    const image = asked.container_tag;
    const refusal = refusalOfImage(deps.policy, image);
    if (refusal !== undefined) throw notAllowed('container_tag', refusal);
    const { human_readable_id: humanReadableId } = asked;
    const beyond = refusalOfRights(deps.policy, {
      humanReadableId,
      image,
      rights: rightsOf(asked),
    });
    if (beyond !== undefined) throw notAllowed(beyond.parameter, beyond);
  }

  function requireWithinLimits(asked: Registration): void {
    for (const [parameter, most, setting] of [
      ['timeout_s', limits.runTimeoutS, 'MAX_RUN_TIMEOUT_S'],
      ['retention_s', limits.retentionS, 'OUTPUT_RETENTION_S'],
      ['input_retention_s', limits.inputRetentionS, 'INPUT_RETENTION_S'],
      ['log_retention_s', limits.logRetentionS, 'LOG_RETENTION_S'],
      ['gpu_count', limits.gpuCount, 'MAX_GPU_COUNT'],
      ['gpu_memory_mib', limits.gpuMemoryMib, 'MAX_GPU_MEMORY_MIB'],
      ['cpus', limits.cpus, 'MAX_CPUS'],
      ['memory_mib', limits.memoryMib, 'MAX_MEMORY_MIB'],
      ['shm_mib', limits.shmMib, 'MAX_SHM_MIB'],
      ['max_replicas', limits.replicas, 'MAX_REPLICAS'],
      ['min_replicas', limits.minReplicas, 'MAX_MIN_REPLICAS'],
    ] as const) {
      requireAtMost(asked[parameter], most, parameter, setting);
    }
  }

  /** Throws VALIDATION_FAILED where they contradict each other. */
  function needsOf(asked: Registration): Needs {
    const { use_gpu = false, gpu_count = 1, gpu_memory_mib = null } = asked;
    const { cpus = null, memory_mib = null, shm_mib = null } = asked;
    if (!use_gpu && gpu_count > 1) throw refused('gpu_count', 'is for models with use_gpu');
    if (!use_gpu && gpu_memory_mib !== null) {
      throw refused('gpu_memory_mib', 'is for models with use_gpu');
    }
    if (shm_mib !== null && memory_mib !== null && shm_mib > memory_mib) {
      throw refused('shm_mib', 'is more than memory_mib, towards which it counts');
    }
    const labels = parseLabels(asked.labels ?? '');
    if (labels === undefined) throw refused('labels', 'has a key twice');
    return {
      ...{ use_gpu, gpu_count, gpu_memory_mib, gpu_memory_exceeded: false },
      ...{ cpus, memory_mib, shm_mib, labels },
    };
  }

  async function receive(
    registration: Registration,
    by: Publisher['by'],
    upload: ZipUploadReader,
    signal: AbortSignal,
  ): Promise<NewModel> {
    // Before the body is read.
    const needs = needsOf(registration);
    requireOfKind(registration, registration.kind);
    const contract = contractOf(registration);
    const text = contract.part;
    const files = await modelFiles.receive(registration, by.owner, { upload, text, signal });
    try {
      return {
        ...kindOf(registration, contract.get(), files),
        ...what(registration, by),
        needs,
        files,
      };
    } catch (error) {
      if (files !== null) await blobs.abandon(files.id);
      throw error;
    }
  }

  function what(registration: Registration, by: Publisher['by']) {
    return {
      versionId: deps.newVersionId(),
      humanReadableId: registration.human_readable_id,
      by,
      containerTag: registration.container_tag,
      description: registration.description ?? '',
      rights: rightsOf(registration),
      pullPolicy: registration.pull_policy ?? 'missing',
      timeoutS: registration.timeout_s ?? null,
      retries: registration.retries ?? 0,
      retentionS: registration.retention_s ?? null,
      inputRetentionS: registration.input_retention_s ?? null,
      logRetentionS: registration.log_retention_s ?? null,
    };
  }

  async function abandonFiles({ files }: NewModel): Promise<void> {
    if (files !== null) await blobs.abandon(files.id);
  }
}

/** Throws VALIDATION_FAILED for a capability that nobody may have. */
function rightsOf(asked: Registration): Rights {
  const { network = null, user = null, read_only_root = false, cap_add = '' } = asked;
  const names = cap_add === '' ? [] : [...new Set(cap_add.split(','))].sort();
  const known = names.filter((name) => Value.Check(Capability, name));
  if (known.length < names.length)
    throw refused('cap_add', 'has a capability that nobody may have');
  return { network, user, read_only_root, cap_add: known };
}

/** With what the one who registers it should know. */
function withWarnings(model: Model, consumers: readonly Capacity[]): Model {
  const warnings: string[] = [];
  if (!couldRun(model, consumers, model.kind)) {
    const needs = needsInWords(model);
    const what = model.kind === 'batch' ? 'run a task of it' : 'host it';
    warnings.push(`No consumer that is registered now could ${what}. It needs: ${needs}.`);
  }
  if (model.gpu_memory_exceeded) {
    warnings.push(
      `A run took ${model.gpu_memory_peak_mib} MiB of a GPU, more than gpu_memory_mib says: until it says more, its runs share none.`,
    );
  }
  return warnings.length === 0 ? model : { ...model, warnings };
}

function modelExists(): AppError {
  return new AppError('MODEL_EXISTS', 'A model of this human_readable_id is registered already.', {
    extensions: { parameter: 'human_readable_id' },
  });
}

function notAllowed(parameter: string, { rule, detail }: PolicyRefusal): AppError {
  const why = `The server's policy does not allow it (${rule}): ${detail}`;
  return new AppError('FORBIDDEN', why, { extensions: { parameter, reason: rule } });
}

function requireAtMost(
  asked: number | undefined,
  most: number,
  parameter: string,
  setting: string,
): void {
  if ((asked ?? 0) <= most) return;
  throw refused(parameter, `is more than ${most} (${setting})`);
}
