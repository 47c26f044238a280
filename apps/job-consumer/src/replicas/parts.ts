import type { ReplicaOrder } from '@inference-server/contracts';
import type { Allotment, FleetMember } from '../fleet.js';

/** What a replica has of its consumer, and of those that lend it their devices. */
export interface Parts {
  /** Of a replica that is to be started: nothing is taken yet. */
  allot(order: ReplicaOrder): Allotment;
  /** It runs, and nobody knows what it has: it may be all of a device. */
  keep(): void;
  /** It runs, and is the one of this order. */
  hold(order: ReplicaOrder): void;
  /** Empty while nobody knows. */
  readonly gpus: readonly string[];
  free(): void;
  /** It is over, its container may not be. */
  outlive(): void;
  accuse(devices: readonly string[], reason: string): void;
  suspect(devices: readonly string[], reason: string): void;
}

export function createParts(member: FleetMember, replica: string): Parts {
  let kept: (() => void) | undefined;
  let allotment: Allotment | undefined;
  const allot = (order: ReplicaOrder) => {
    allotment = member.allot({ replica }, member.room.takePlace('runtime'), order, 'runtime');
    return allotment;
  };
  const letGo = () => {
    kept?.();
    kept = undefined;
  };
  return {
    allot,
    keep: () => void (kept = member.keep('runtime')),
    hold(order) {
      if (allotment !== undefined) return;
      allot(order).hold();
      letGo();
    },
    get gpus() {
      return allotment?.gpus ?? [];
    },
    free() {
      letGo();
      allotment?.free();
    },
    outlive: () => allotment?.outlive(),
    accuse: (devices, reason) => allotment?.accuse(devices, reason),
    suspect: (devices, reason) => allotment?.suspect(devices, reason),
  };
}
