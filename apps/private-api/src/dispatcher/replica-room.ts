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
  const byVersion = new Map<string, LivingReplica[]>();
  for (const replica of scene.replicas) {
    const of = byVersion.get(replica.versionId);
    if (of === undefined) byVersion.set(replica.versionId, [replica]);
    else of.push(replica);
  }
  const isStaying = ({ id }: LivingReplica) => !gone.has(id);
  const staying = () => scene.replicas.filter(isStaying);

  /** Looked into for each wish: opened once, until something goes. What comes is entered. */
  const shelf = new Map<'now' | 'soon' | 'later' | 'idle', Book[]>();
  const opened = (name: 'now' | 'soon' | 'later' | 'idle', open: () => Book[]): readonly Book[] => {
    const books = shelf.get(name) ?? open();
    shelf.set(name, books);
    return books;
  };
  const now = () => opened('now', () => openBooks(consumers, busy, [...scene.replicas, ...coming]));
  const later = ({ isUrgent = false }: Partial<Wish> = {}) =>
    opened(isUrgent ? 'soon' : 'later', () => laterWithout(new Set(), { isUrgent }));
  const withoutTasks = () =>
    opened('idle', () => openBooks(consumers, [], [...staying(), ...coming]));
  const isThereSoon = (of: LivingReplica) => of.inFlight > 0 && of.state !== 'STOPPING';
  const laterWithout = (
    without: ReadonlySet<LivingReplica>,
    { isUrgent = false }: Partial<Wish> = {},
  ) =>
    openBooks(consumers, busy, [
      ...scene.replicas.filter(
        (of) => !without.has(of) && (isStaying(of) || (isUrgent && isThereSoon(of))),
      ),
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
    booksWithout: (evictable: readonly LivingReplica[]) => laterWithout(new Set(evictable)),
    isStaying,
    stayingOf: (versionId: string) => (byVersion.get(versionId) ?? []).filter(isStaying),
    /** Where there is room now. */
    findNow: (wish: Wish) => toPlace(placeIn(now(), wish)),
    /** Where there will be room when what goes is gone. */
    findLater: (wish: Wish) => toPlace(placeIn(later(wish), wish)),

    /**
     * Where there would be room without some of the `evictable`, which are given up in their order, and
     * only those that must be. Undefined: not even without all of them.
     */
    findByEvicting(
      wish: Wish,
      evictable: readonly LivingReplica[],
    ): { place: Place; evicted: LivingReplica[] } | undefined {
      const found = fewest(0, evictable.length, (count) =>
        placeIn(laterWithout(new Set(evictable.slice(0, count)), wish), wish),
      );
      if (found === undefined) return undefined;
      const ids = found.fit.map(({ consumer }) => consumer.id);
      const there: Wish = { ...wish, isAllowed: (id) => ids.includes(id) };
      const first = evictable.slice(0, found.count);
      const without = new Set(first.filter((replica) => isOn(replica, ids)));
      for (const kept of [...without].reverse()) {
        without.delete(kept);
        if (placeIn(laterWithout(without, wish), there) === undefined) without.add(kept);
      }
      return { place: toPlace(found.fit), evicted: [...without] };
    },

    /** It goes: its room is to be had later. */
    giveUp({ id }: LivingReplica): void {
      gone.add(id);
      shelf.delete('soon');
      shelf.delete('later');
      shelf.delete('idle');
    },
    host(place: Place, needs: Needs): void {
      coming.push({ ...place, needs });
      for (const books of shelf.values()) {
        for (const book of booksOf(books, place)) book.enterReplica(needs);
      }
    },
    run(task: BusyTask): void {
      busy.push(task);
      for (const name of ['now', 'soon', 'later'] as const) {
        for (const book of booksOf(shelf.get(name) ?? [], task)) book.enter(task);
      }
    },
    /** Of those that have room for it when their tasks are over the ones with the least under way. */
    leastBusy(wish: Wish): string[] {
      const tasks = new Map(later().map((book) => [book.consumer.id, book.tasks]));
      const tasksOn = ({ consumer }: Book) => tasks.get(consumer.id) ?? 0;
      const sorted = withoutTasks().toSorted((a, b) => tasksOn(a) - tasksOn(b));
      const found = fewest(wish.needs.gpu_count, sorted.length, (count) =>
        placeIn(sorted.slice(0, count), wish),
      );
      return found?.fit.map(({ consumer }) => consumer.id) ?? [];
    },
  };
}

export type ReplicaRoom = ReturnType<typeof createReplicaRoom>;

/** What room is looked for. */
export interface Wish {
  needs: Needs;
  kind: ModelKind;
  isAllowed: (consumerId: string) => boolean;
  /** It does not wait for what goes with calls under way: these may last for long. */
  isUrgent?: boolean;
}

/** Whether a replica of this state is to stay. */
export function isKept(state: LivingReplica['state']): boolean {
  return state === 'STARTING' || state === 'READY';
}

function isAble({ needs, kind }: Wish, consumer: ReadyConsumer): boolean {
  return isFor(needs, consumer, kind);
}

function isOn({ consumerId, lenders }: Place, ids: readonly string[]): boolean {
  return ids.includes(consumerId) || lenders.some((lender) => ids.includes(lender));
}

function booksOf(books: readonly Book[], place: Place): Book[] {
  return books.filter(({ consumer }) => isOn(place, [consumer.id]));
}

/** With the least of `least` to `most` things with which there is room: with more of them there is room too. */
function fewest<Fit>(
  least: number,
  most: number,
  fitOf: (count: number) => Fit | undefined,
): { count: number; fit: Fit } | undefined {
  const fit = most < least ? undefined : fitOf(most);
  if (fit === undefined) return undefined;
  let found = { count: most, fit };
  for (let from = least; from < found.count;) {
    const count = Math.floor((from + found.count) / 2);
    const fewer = fitOf(count);
    if (fewer === undefined) from = count + 1;
    else found = { count, fit: fewer };
  }
  return found;
}

function toPlace(books: readonly Book[]): Place;
function toPlace(books: readonly Book[] | undefined): Place | undefined;
function toPlace(books: readonly Book[] | undefined): Place | undefined {
  const [first, ...lenders] = (books ?? []).map(({ consumer }) => consumer.id);
  return first === undefined ? undefined : { consumerId: first, lenders };
}
