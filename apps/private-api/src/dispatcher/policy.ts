import { couldRun, isFor, type ModelKind, type Needs } from '@inference-server/contracts';
import { openBook, type Book, type ReadyConsumer } from './books.js';

/** A waiting task, as the policy sees it. */
export interface WaitingTask {
  uid: string;
  attempt: number;
  /** The order of arrival. */
  seq: number;
  /** Of its model. */
  versionId: string;
  needs: Needs;
  /** Who had the last attempt, which ended without a result. */
  lastConsumerId: string | null;
  /** Whether that met a fault so lately that the next attempt rather waits for another consumer. */
  shunsLast: boolean;
}

/** A task that has a ticket or runs: on a consumer, with the devices of the lenders beside its own. */
export interface BusyTask {
  consumerId: string;
  lenders: readonly string[];
  seq: number;
  needs: Needs;
}

/** A replica that has not ended: its containers, on its consumer and with the devices of the lenders. */
export interface HostedReplica {
  consumerId: string;
  lenders: readonly string[];
  needs: Needs;
}

export interface Assignment {
  uid: string;
  attempt: number;
  consumerId: string;
  /** Other consumers of the same process, whose devices it has too. */
  lenders: readonly string[];
}

/**
 * How long a task whose attempt met a fault waits, after its pause, for another consumer than the one
 * it met it on. As long as the longest pause: a consumer on which everything fails cannot use up a
 * task's attempts within minutes because the others are full, and a task does not wait for the end of
 * their runs, which may take days.
 */
export const elsewhereForMs = 300_000;

/**
 * Who gets which ticket: none beyond what fits now. Pure.
 *
 * The tasks come oldest first and are served in that order, each by the consumers on which it fits
 * tightest: on a GPU, so that large ones stay free for large tasks; CPU work goes to where most slots are
 * free. It does not go to the consumer that just lost it if there is another; if that is full, what shuns
 * the last one goes nowhere yet.
 *
 * What fits nowhere now keeps a place: the consumers with the fewest tasks that are younger than it, and of
 * those with the fewest at all, are given nothing more in this pass. Nothing younger comes to them then, and
 * any other that takes their place has still less that is younger: so a large task waits for what is there
 * when it comes, at most, whatever comes after it. A model's younger tasks keep places too, as long as half
 * of those that could run it are left. `keptFor` replicas are consumers that are given nothing either.
 */
export function assignTickets(
  waiting: readonly WaitingTask[],
  consumers: readonly ReadyConsumer[],
  busy: readonly BusyTask[],
  {
    replicas = [],
    keptFor = [],
  }: { replicas?: readonly HostedReplica[]; keptFor?: readonly string[] } = {},
): Assignment[] {
  const books = openBooks(consumers, busy, replicas);
  const kept = createKept(books.filter(({ consumer }) => keptFor.includes(consumer.id)));
  const assignments: Assignment[] = [];
  for (const task of waiting) {
    const able = books.filter(({ consumer }) => isFor(task.needs, consumer));
    const others = able.filter(({ consumer }) => consumer.id !== task.lastConsumerId);
    const hasOthers = couldRun(
      task.needs,
      others.map(({ consumer }) => consumer),
    );
    const candidates = hasOthers && task.shunsLast ? [others] : [others, able];
    const free = candidates.map((of) => of.filter((book) => !kept.books.has(book)));
    const chosen = free.map((of) => tightestFit(task.needs, of)).find((fit) => fit !== undefined);
    const [first, ...lenders] = chosen ?? [];
    if (first === undefined) {
      keepPlace(task, hasOthers ? others : able, kept);
      continue;
    }
    for (const book of [first, ...lenders]) book.enter(task);
    const { uid, attempt } = task;
    assignments.push({
      ...{ uid, attempt, consumerId: first.consumer.id },
      lenders: lenders.map(({ consumer }) => consumer.id),
    });
  }
  return assignments;
}

/** The books of all consumers, with what is under way entered. */
export function openBooks(
  consumers: readonly ReadyConsumer[],
  busy: readonly BusyTask[],
  replicas: readonly HostedReplica[] = [],
): Book[] {
  const books = new Map(consumers.map((consumer) => [consumer.id, openBook(consumer)]));
  for (const task of busy) {
    for (const id of [task.consumerId, ...task.lenders]) books.get(id)?.enter(task);
  }
  for (const { consumerId, lenders, needs } of replicas) {
    for (const id of [consumerId, ...lenders]) books.get(id)?.enterReplica(needs);
  }
  return [...books.values()];
}

/** As many as it wants, of one process, with room for it: those on which the least is left. */
export function tightestFit(
  needs: Needs,
  able: readonly Book[],
  kind: ModelKind = 'batch',
): Book[] | undefined {
  return smallest(setsWithRoom(needs, able, kind), (book) => book.leftAfter(needs, kind));
}

function setsWithRoom(needs: Needs, able: readonly Book[], kind: ModelKind = 'batch'): Book[][] {
  return setsOf(
    needs.gpu_count,
    able.filter((book) => book.roomFor(needs, kind) > 0),
    (book) => book.leftAfter(needs, kind),
  );
}

interface Kept {
  books: Set<Book>;
  /** How many of them a model keeps, by its version. */
  counts: Map<string, number>;
}

function createKept(books: readonly Book[]): Kept {
  return { books: new Set(books), counts: new Map() };
}

/** Nothing more goes to those that will be the first to have room for it, in this pass. */
function keepPlace(task: WaitingTask, able: readonly Book[], { books, counts }: Kept): void {
  const { needs, versionId, seq } = task;
  const count = counts.get(versionId) ?? 0;
  if (count > 0 && count + needs.gpu_count > able.length / 2) return;
  const rankOf = (book: Book) => book.youngerThan(seq) * manyTasks + book.tasks;
  const sets = setsOf(
    needs.gpu_count,
    able.filter((book) => !books.has(book)),
    rankOf,
  );
  const places = smallest(sets, rankOf) ?? [];
  for (const book of places) books.add(book);
  counts.set(versionId, count + places.length);
}

/** More than a consumer has slots. */
const manyTasks = 10_000;

/** Of each process that has so many, those of the lowest rank. */
function setsOf(count: number, books: readonly Book[], rankOf: (book: Book) => number): Book[][] {
  if (count === 1) return books.map((book) => [book]);
  const byProcess = new Map<string, Book[]>();
  for (const book of books) {
    const of = byProcess.get(book.consumer.process) ?? [];
    byProcess.set(book.consumer.process, [...of, book]);
  }
  return [...byProcess.values()]
    .filter((of) => of.length >= count)
    .map((of) => of.sort((a, b) => rankOf(a) - rankOf(b)).slice(0, count));
}

/** The first of those whose ranks sum up to the least. */
function smallest(sets: readonly Book[][], rankOf: (book: Book) => number): Book[] | undefined {
  const rankOfSet = (set: readonly Book[]) => set.reduce((sum, book) => sum + rankOf(book), 0);
  const [first, ...rest] = sets;
  if (first === undefined) return undefined;
  return rest.reduce((best, next) => (rankOfSet(next) < rankOfSet(best) ? next : best), first);
}

/**
 * How many of the oldest tasks of a model version are to be read for a pass: as many as find room, and those
 * that keep places. `notShunning` are the consumers without which there is no room, since others are full: what
 * shuns one of them cannot go anywhere, and must not be read, since it would stand before what can. Where
 * there is room without any one of them, the tasks that are read shun one at most, each: others are filled, or
 * all are served. Undefined: nobody could run it.
 */
export function askOf(
  id: string,
  needs: Needs,
  books: readonly Book[],
): { id: string; most: number; notShunning: string[] } | undefined {
  const able = books.filter(({ consumer }) => isFor(needs, consumer));
  if (able.length === 0) return undefined;
  const room = able.reduce((sum, book) => sum + book.roomFor(needs), 0);
  const places = Math.max(1, Math.floor(able.length / 2 / needs.gpu_count));
  const [set, ...more] = setsWithRoom(needs, able);
  // Of two sets one is without whoever is shunned.
  const needed = set === undefined || more.length > 0 ? [] : set.filter(isNeeded);
  return { id, most: room + places, notShunning: needed.map(({ consumer }) => consumer.id) };

  function isNeeded(book: Book): boolean {
    const others = able.filter((other) => other !== book);
    if (setsWithRoom(needs, others).length > 0) return false;
    return couldRun(
      needs,
      others.map(({ consumer }) => consumer),
    );
  }
}
