import type { ContainerLimits } from '@inference-server/container-engine';
import {
  partOf,
  roundingError,
  type ModelKind,
  type Part,
  type Work,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { joinSignals } from '@inference-server/service-kit';
import type { ConsumerIdentity } from './identities.js';
import { createRoom, type Place, type Room } from './room.js';
import { keyOf, type Holder } from './ticket-key.js';

/** The consumers of this process, by id: a run of one may have the devices of others beside its own. */
export type Fleet = ReadonlyMap<string, FleetMember>;

export interface FleetMember {
  identity: ConsumerIdentity;
  room: Room;
  /** What the run of this ticket, on this place of the room, is to have; or a replica, of a place of that kind. */
  allot(
    holder: Holder,
    place: Place,
    work: Pick<Work, 'needs' | 'lenders'>,
    kind?: ModelKind,
  ): Allotment;
  /** Keeps a place for a container of which nobody knows what it has; what is returned gives it back. */
  keep(kind?: ModelKind): () => void;
  /** Whether an attempt or a replica of any consumer of the process has what it was allotted. */
  isAllotted(holder: Holder): boolean;
  /** Has `keeper` told of this consumer's device. */
  onNews(keeper: DeviceKeeper): void;
}

/** Takes note of what runs have shown of a device, be it lent or not. */
export interface DeviceKeeper {
  /** No container can have it. */
  accuse(reason: string): void;
  /** A container had lost it: that need not be the device's doing. */
  suspect(reason: string): void;
  /** A container may still have it whose attempt is over. */
  look(): void;
}

/** What a run has of its consumer, and of those that lend it their devices. */
export interface Allotment {
  gpus: readonly string[];
  limits: ContainerLimits;
  /**
   * Takes it all, as soon as it is free; false: that takes longer than 5 min (`takenWithinMs`). Rejects with the signal's reason,
   * and with INTERNAL when it cannot be: what it wants is more than there is, or of another process.
   */
  take(signal: AbortSignal): Promise<boolean>;
  /** It runs already: it has what it has. */
  hold(): void;
  free(): void;
  /** The attempt is over, its container may not be: what that has is kept until it is freed, and its owners look. */
  outlive(): void;
  /** Tells the consumers of these devices, be they lent or not: see {@link DeviceKeeper}. */
  accuse(devices: readonly string[], reason: string): void;
  suspect(devices: readonly string[], reason: string): void;
}

export function createFleet(
  identities: readonly ConsumerIdentity[],
  { takenWithinMs = 300_000 }: { takenWithinMs?: number } = {},
): Fleet {
  const keepers = new Map<string, DeviceKeeper>();
  const allotted = new Set<string>();
  const rooms = new Map(
    identities.map((identity) => [identity.id, { identity, room: createRoom(identity) }]),
  );
  const memberOf = (identity: ConsumerIdentity, room: Room): FleetMember => ({
    identity,
    room,
    keep(kind) {
      const place = room.takePlace(kind);
      place.occupy(null);
      return () => place.free();
    },
    isAllotted: (holder) => allotted.has(keyOf(holder)),
    onNews: (keeper) => void keepers.set(identity.id, keeper),
    allot(holder, place, { needs, lenders }, kind = 'batch') {
      const lent = lenders.flatMap((id) => rooms.get(id) ?? []);
      const present = [{ identity, room }, ...lent];
      const places = new Map<string, Place>([[identity.id, place]]);
      const placeAt = (of: (typeof present)[number]): Place => {
        const taken = places.get(of.identity.id) ?? of.room.takePlace(kind);
        places.set(of.identity.id, taken);
        return taken;
      };
      /** Always in the same order: two that want the same devices do not wait for each other. */
      const inOrder = present.toSorted((a, b) => (a.identity.id < b.identity.id ? -1 : 1));
      const had = present.map((of) => of.identity);
      const ownersOf = (devices: readonly string[]) =>
        had.filter(({ device }) => device !== null && devices.includes(device.uuid));
      allotted.add(keyOf(holder));
      return {
        gpus: had.flatMap(({ device }) => (device === null ? [] : [device.uuid])),
        limits: limitsFor(identity, needs, had, kind),
        async take(signal) {
          if (lent.length < lenders.length) {
            throw new AppError('INTERNAL', 'A device that it was to have is of another process.');
          }
          const bounds = joinSignals(signal, AbortSignal.timeout(takenWithinMs));
          try {
            for (const of of inOrder) await placeAt(of).fill(needs, bounds.signal);
            return true;
          } catch (error) {
            signal.throwIfAborted();
            if (!bounds.signal.aborted) throw error;
            return false;
          } finally {
            bounds.release();
          }
        },
        hold() {
          for (const of of inOrder) placeAt(of).occupy(needs);
        },
        free() {
          allotted.delete(keyOf(holder));
          for (const taken of places.values()) taken.free();
        },
        outlive() {
          allotted.delete(keyOf(holder));
          for (const { id } of had) keepers.get(id)?.look();
        },
        accuse(devices, reason) {
          for (const { id } of ownersOf(devices)) keepers.get(id)?.accuse(reason);
        },
        suspect(devices, reason) {
          for (const { id } of ownersOf(devices)) keepers.get(id)?.suspect(reason);
        },
      };
    },
  });
  return new Map(
    [...rooms].map(([id, { identity, room }]) => [id, memberOf(identity, room)] as const),
  );
}

/**
 * What it has of all its consumers together, as their books have it. Cores of which nobody has said how many it
 * has may be more, up to one, as long as nobody else wants them: few would be too slow for the start of a program.
 * A replica that no cores are booked for has the weight of these, which takes them from nobody while it is idle:
 * with none it would starve beside tasks.
 */
function limitsFor(
  { limits, share, device }: ConsumerIdentity,
  needs: Work['needs'],
  had: readonly ConsumerIdentity[],
  kind: ModelKind,
): ContainerLimits {
  const parts = had.map((identity) => partOf(needs, identity, kind));
  const sumOf = (amountOf: (of: Part) => number) =>
    parts.reduce((sum, part) => sum + amountOf(part), 0);
  const cpus = sumOf((part) => part.cpus);
  // What each task is to have is not said of replicas.
  const ofTask = kind === 'runtime' && device === null ? null : share.cpus_per_task;
  const isSaid = (needs.cpus ?? ofTask ?? null) !== null;
  const all = had.reduce((sum, of) => sum + of.share.cpus, 0);
  const most = isSaid ? cpus : Math.max(cpus, Math.min(1, all));
  return {
    ...limits,
    cpus: most,
    cpusAtLeast: cpus === 0 ? most : cpus,
    memoryBytes: Math.floor(sumOf((part) => part.memoryMib) + roundingError) * mib,
    shmBytes: needs.shm_mib === null ? limits.shmBytes : needs.shm_mib * mib,
  };
}

const mib = 1024 ** 2;
