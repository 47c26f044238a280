import { isFor, type ModelKind, type Needs } from '@inference-server/contracts';
import type { Book, ReadyConsumer } from './books.js';
import { openBooks, tightestFit, type BusyTask, type HostedReplica } from './policy.js';

/** A replica that has not ended, as a pass sees it. */
export interface LivingReplica extends HostedReplica {
  id: string;
  versionId: string;
  state: 'STARTING' | 'READY' | 'DRAINING' | 'STOPPING';
  /** Calls that are under way, as the gateways last said. */
  inFlight: number;
  /** Since its last call, or since it is there. */
  idleMs: number;
}

/** On one consumer, with the devices of the lenders beside its own. */
export type Place = Pick<HostedReplica, 'consumerId' | 'lenders'>;

/**
 * The room of one pass, for replicas and for tasks: what is there now, with every replica whose container
 * may still be there, and what will be there later, when those that go are gone. What is given room later
 * is entered in both: nobody else takes it meanwhile.
 */
export function createReplicaRoom(scene: {
  consumers: readonly ReadyConsumer[];
  busy: readonly BusyTask[];
  replicas: readonly LivingReplica[];
}) {
  const { consumers } = scene;
  const busy = [...scene.busy];
  /** Started in this pass, or to be started as soon as there is room. */
  const coming: HostedReplica[] = [];
  const gone = new Set(scene.replicas.filter(({ state }) => !isKept(state)).map(({ id }) => id));
  const staying = () => scene.replicas.filter(({ id }) => !gone.has(id));

  const now = () => openBooks(consumers, busy, [...scene.replicas, ...coming]);
  const later = (without: ReadonlySet<LivingReplica> = new Set()) =>
    openBooks(consumers, busy, [
      ...staying().filter((replica) => !without.has(replica)),
      ...coming,
    ]);
  const placeIn = (books: readonly Book[], wish: Wish) =>
    tightestFit(
      wish.needs,
      books.filter(({ consumer }) => wish.isAllowed(consumer.id) && isAble(wish, consumer)),
      wish.kind,
    );

  return {
    /** All that is to be entered in the books of who hands out tickets now. */
    entered: (): readonly HostedReplica[] => [...scene.replicas, ...coming],
    /** The books as they would be without what may be evicted, and what goes. */
    booksWithout: (evictable: readonly LivingReplica[]) => later(new Set(evictable)),
    staying,
    /** Where there is room now. */
    findNow: (wish: Wish) => toPlace(placeIn(now(), wish)),
    /** Where there will be room when what goes is gone. */
    findLater: (wish: Wish) => toPlace(placeIn(later(), wish)),

    /**
     * Where there would be room without some of the `evictable`, which are given up in their order, and
     * only those that must be. Undefined: not even without all of them.
     */
    findByEvicting(
      wish: Wish,
      evictable: readonly LivingReplica[],
    ): { place: Place; evicted: LivingReplica[] } | undefined {
      const without = new Set<LivingReplica>();
      for (const replica of evictable) {
        without.add(replica);
        const fit = placeIn(later(without), wish);
        if (fit === undefined) continue;
        const ids = fit.map(({ consumer }) => consumer.id);
        const there: Wish = { ...wish, isAllowed: (id) => ids.includes(id) };
        for (const kept of [...without].reverse()) {
          without.delete(kept);
          if (placeIn(later(without), there) === undefined) without.add(kept);
        }
        return { place: toPlace(fit), evicted: [...without] };
      }
      return undefined;
    },

    /** It goes: its room is to be had later. */
    giveUp: ({ id }: LivingReplica) => void gone.add(id),
    host: (place: Place, needs: Needs) => void coming.push({ ...place, needs }),
    run: (task: BusyTask) => void busy.push(task),
    /** Of those that have room for it when their tasks are over the ones with the least under way. */
    leastBusy(wish: Wish): string[] {
      const tasks = new Map(later().map((book) => [book.consumer.id, book.tasks]));
      const left = openBooks(consumers, [], [...staying(), ...coming]);
      const sorted = left.sort((a, b) => tasksOn(a) - tasksOn(b));
      for (let n = wish.needs.gpu_count; n <= sorted.length; n += 1) {
        const fit = placeIn(sorted.slice(0, n), wish);
        if (fit !== undefined) return fit.map(({ consumer }) => consumer.id);
      }
      return [];

      function tasksOn({ consumer }: Book): number {
        return tasks.get(consumer.id) ?? 0;
      }
    },
  };
}

export type ReplicaRoom = ReturnType<typeof createReplicaRoom>;

/** What room is looked for. */
export interface Wish {
  needs: Needs;
  kind: ModelKind;
  isAllowed: (consumerId: string) => boolean;
}

/** Whether a replica of this state is to stay. */
export function isKept(state: LivingReplica['state']): boolean {
  return state === 'STARTING' || state === 'READY';
}

function isAble({ needs, kind }: Wish, consumer: ReadyConsumer): boolean {
  return isFor(needs, consumer, kind);
}

function toPlace(books: readonly Book[]): Place;
function toPlace(books: readonly Book[] | undefined): Place | undefined;
function toPlace(books: readonly Book[] | undefined): Place | undefined {
  const [first, ...lenders] = (books ?? []).map(({ consumer }) => consumer.id);
  return first === undefined ? undefined : { consumerId: first, lenders };
}
