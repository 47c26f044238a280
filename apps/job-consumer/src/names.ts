import type { Labels } from '@inference-server/container-engine';

/** What kind of thing of ours a container, volume or network is. */
export type Kind =
  /** A model's container of an attempt. */
  | 'run'
  /** A model's container of a replica, and its network. */
  | 'replica'
  | 'replica-network'
  /** The container through which an attempt's volumes are filled. */
  | 'stage'
  | 'input'
  | 'output'
  /** A container through which a model volume is filled, and the one that is the lock on that. */
  | 'model-fill'
  | 'model-data'
  /** A container that shows whether any can be started. */
  | 'probe'
  /** A container that tells of the GPUs of the engine's host. */
  | 'discovery'
  /** A volume that holds nothing: its label names the model volume that is complete. */
  | 'model'
  /** Another: its label tells when that was last used. */
  | 'model-use';

/** Names and labels of all that a consumer makes in an engine. */
export interface Names {
  /** On everything of the installation. */
  installation: Labels;
  /** Every name of the installation begins with it. */
  prefix: string;
  /** On everything that is this consumer's own: no more, no less. */
  own: Labels;
  attempt(taskUid: string, attempt: number): AttemptNames;
  replica(replicaId: string): ReplicaNames;
  model(versionId: string): ModelNames;
  probe(random: string): { name: string; labels: Labels };
  discovery(random: string): { name: string; labels: Labels };
  /** On everything of the kind, whoever made it. */
  ofAll(kind: Kind): Labels;
}

export interface AttemptNames {
  name(kind: AttemptKind): string;
  /** On everything that was made for the attempt. */
  all: Labels;
  labels(kind: Kind): Labels;
}
export type AttemptKind = 'run' | 'stage' | 'input' | 'output' | 'probe';

export interface ReplicaNames {
  name(kind: 'replica' | 'replica-network' | 'probe'): string;
  /** On everything that was made for the replica. */
  all: Labels;
  labels(kind: Kind): Labels;
}

export interface ModelNames {
  /** The volume that names the complete one, and what it says of itself. */
  marker: string;
  markerLabels(dataVolume: string): Labels;
  /** The volume that tells of the last use. */
  use: string;
  useLabels(usedAt: Date): Labels;
  /** The container whose name is the lock on filling. */
  lock: string;
  /** A filler's own volume, and its own container to fill that through. */
  data(random: string): string;
  fill(random: string): string;
}

export const labelNames = {
  installation: 'inference-server.installation',
  consumer: 'inference-server.consumer',
  kind: 'inference-server.kind',
  task: 'inference-server.task',
  attempt: 'inference-server.attempt',
  replica: 'inference-server.replica',
  devices: 'inference-server.devices',
  modelVersion: 'inference-server.model-version',
  volume: 'inference-server.volume',
  usedAt: 'inference-server.used-at',
} as const;

/** Every label set begins with the installation: nothing without it is ever touched. */
export function createNames(installationId: string, consumerId: string): Names {
  const prefix = `is-${installationId.slice(0, 8)}-`;
  const installation = { [labelNames.installation]: installationId };
  const own = { ...installation, [labelNames.consumer]: consumerId };
  const labelled = (base: Labels, kind: Kind): Labels => ({ ...base, [labelNames.kind]: kind });
  return {
    installation,
    prefix,
    own,
    attempt: (taskUid, attempt) => {
      const all = {
        ...own,
        [labelNames.task]: taskUid,
        [labelNames.attempt]: `${attempt}`,
      };
      return {
        name: (kind) => `${prefix}${taskUid}-${attempt}-${kind}`,
        all,
        labels: (kind) => labelled(all, kind),
      };
    },
    replica: (replicaId) => {
      const all = { ...own, [labelNames.replica]: replicaId };
      return {
        name: (kind) => `${prefix}${kind}-${replicaId}`,
        all,
        labels: (kind) => labelled(all, kind),
      };
    },
    probe: (random) => ({ name: `${prefix}probe-${random}`, labels: labelled(own, 'probe') }),
    discovery: (random) => ({
      name: `${prefix}discovery-${random}`,
      labels: labelled(own, 'discovery'),
    }),
    ofAll: (kind) => labelled(installation, kind),
    model: (versionId) => {
      const marker = `${prefix}model-${versionId}`;
      return {
        marker,
        // A complete model volume belongs to all consumers of the engine.
        markerLabels: (dataVolume) => ({
          ...labelled(installation, 'model'),
          [labelNames.modelVersion]: versionId,
          [labelNames.volume]: dataVolume,
        }),
        use: `${prefix}used-${versionId}`,
        useLabels: (usedAt) => ({
          ...labelled(installation, 'model-use'),
          [labelNames.modelVersion]: versionId,
          [labelNames.usedAt]: usedAt.toISOString(),
        }),
        lock: `${prefix}fill-${versionId}`,
        data: (random) => `${marker}-${random}`,
        fill: (random) => `${prefix}fill-${versionId}-${random}`,
      };
    },
  };
}
