import { randomUUID } from 'node:crypto';
import { usualRights, usualRuntime } from '@inference-server/contracts';
import { needs } from '@inference-server/testing';
import { atTheStart } from '../src/modules/audit/repository.js';
import type { NewModel } from '../src/modules/models/repository.js';

/** The model `copy`, as a registration makes it that says nothing but its image. */
export function newModel(own: Partial<NewModel> = {}): NewModel {
  return {
    versionId: randomUUID(),
    humanReadableId: 'copy',
    by: atTheStart,
    containerTag: 'busybox:1',
    kind: 'batch',
    contract: null,
    hasContractFile: false,
    runtime: usualRuntime,
    description: '',
    needs: needs(),
    rights: usualRights,
    pullPolicy: 'missing',
    timeoutS: null,
    retries: 0,
    retentionS: null,
    inputRetentionS: null,
    logRetentionS: null,
    files: null,
    ...own,
  };
}
