import type { ReplicaOrder, ReportedReplica } from '@inference-server/contracts';
import type { Allotment, FleetMember } from '../fleet.js';
import type { ReplicaNames } from '../names.js';
import type { RunDeps } from '../run/attempt-run.js';
import type { Parts } from './parts.js';

/** What every replica of a consumer needs. */
export interface ReplicaDeps extends Pick<
  RunDeps,
  | 'engine'
  | 'engineWatch'
  | 'quarantine'
  | 'gpuSource'
  | 'storageWatch'
  | 'api'
  | 'names'
  | 'modelVolumes'
  | 'logger'
  | 'settings'
> {
  member: FleetMember;
  /** Names the process towards private-api. */
  holder: string;
  hosting: HostingSettings;
}

export interface HostingSettings {
  /** The block that the networks of replicas are of. */
  subnets: string;
  /** The containers that are to be in each of these networks, by name. */
  gateways: readonly string[];
  /** From the start of a container until it serves. */
  startTimeoutMs: number;
}

/** One replica in the making, from its order until its container runs. */
export interface ReplicaRun extends ReplicaDeps {
  order: ReplicaOrder;
  own: ReplicaNames;
  allotment: Allotment;
  /** Whether its container may be running: then it has its devices. */
  mayRun: boolean;
  /** The containers that were created here and that nobody has tried to start: by id. */
  unstarted: Set<string>;
  requireLease(): Promise<void>;
  /** Aborts when it is not wanted any more, or the consumer stops. */
  signal: AbortSignal;
  /** Aborts when the process must end. */
  outOfTime: AbortSignal;
}

/** A replica, as the phases of its life see it. */
export interface Life extends ReplicaDeps {
  id: string;
  own: ReplicaNames;
  parts: Parts;
  /** Resolves once it is known what it is to have: of one that was found, with its order. */
  confirmed: Promise<ReplicaOrder>;
  /** Aborts when it is to end here: `turn` says how. */
  signal: AbortSignal;
  /** Aborts when the process must end. */
  outOfTime: AbortSignal;
  readonly turn: 'none' | 'stop' | 'leave' | 'forget';
  /** Whether its container may be running: then it has its devices. */
  mayRun: boolean;
  onReady(address: string): void;
}

export type ReplicaEnding = NonNullable<ReportedReplica['end']>;

/** Where a runtime listens: of its environment, APP_PORT. */
export const appPort = 9090;
