import { couldRun, isFor, type Needs } from '@inference-server/contracts';
import { openBook, type Book, type ReadyConsumer } from './books.js';

/** A waiting task, as the policy sees it. */
export interface WaitingTask {
  uid: string;
  attempt: number;
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
 * What fits nowhere now keeps a place: the consumers that would be rid of the least before it fits are
 * given nothing more in this pass, and so in each pass until it has them, for as nothing is added to them
 * they stay those, or others come closer still. So a large task waits no longer than what runs there now,
 * whatever comes after it. Younger ones keep theirs too, as long as half of all consumers of the kind
 * are left to what fits.
 */
export function assignTickets(
  waiting: readonly WaitingTask[],
  consumers: readonly ReadyConsumer[],
  busy: readonly BusyTask[],
): Assignment[] {
  const books = openBooks(consumers, busy);
  const kept = new Set<Book>();
  const assignments: Assignment[] = [];
  for (const task of waiting) {
    const able = books.filter(({ consumer }) => isFor(task.needs, consumer));
    const others = able.filter(({ consumer }) => consumer.id !== task.lastConsumerId);
    const hasOthers = couldRun(
      task.needs,
      others.map(({ consumer }) => consumer),
    );
    const candidates = hasOthers && task.shunsLast ? [others] : [others, able];
    const free = candidates.map((of) => of.filter((book) => !kept.has(book)));
    const chosen = free.map((of) => tightestFit(task.needs, of)).find((fit) => fit !== undefined);
    const [first, ...lenders] = chosen ?? [];
    if (first === undefined) {
      keepPlace(task, books, hasOthers ? others : able, kept);
      continue;
    }
    for (const book of [first, ...lenders]) book.enter(task.needs);
    const { uid, attempt } = task;
    assignments.push({
      ...{ uid, attempt, consumerId: first.consumer.id },
      lenders: lenders.map(({ consumer }) => consumer.id),
    });
  }
  return assignments;
}

/** The books of all consumers, with what is under way entered. */
export function openBooks(consumers: readonly ReadyConsumer[], busy: readonly BusyTask[]): Book[] {
  const books = new Map(consumers.map((consumer) => [consumer.id, openBook(consumer)]));
  for (const { consumerId, lenders, needs } of busy) {
    for (const id of [consumerId, ...lenders]) books.get(id)?.enter(needs);
  }
  return [...books.values()];
}

/** As many as it wants, of one process, with room for it: those on which the least is left. */
function tightestFit(needs: Needs, able: readonly Book[]): Book[] | undefined {
  const sets = setsOf(
    needs.gpu_count,
    able.filter((book) => book.hasRoomFor(needs)),
    (book) => book.leftAfter(needs),
  );
  return smallest(sets, (book) => book.leftAfter(needs));
}

/** Nothing more goes to those that will be the first to have room for it, this time. */
function keepPlace(
  { needs }: WaitingTask,
  books: readonly Book[],
  able: readonly Book[],
  kept: Set<Book>,
): void {
  const hasDevice = ({ consumer }: Book) => consumer.device !== null;
  const ofKind = books.filter((book) => hasDevice(book) === needs.use_gpu);
  const keptOfKind = [...kept].filter((book) => hasDevice(book) === needs.use_gpu).length;
  const most = ofKind.length / 2;
  if (keptOfKind > 0 && keptOfKind + needs.gpu_count > most) return;
  const sets = setsOf(
    needs.gpu_count,
    able.filter((book) => !kept.has(book)),
    (book) => book.tasks,
  );
  for (const book of smallest(sets, ({ tasks }) => tasks) ?? []) kept.add(book);
}

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
 * How many of the oldest tasks with these needs are to be read for a pass: as many as could find room, and
 * one that keeps a place. `notShunning` is the one consumer that has room while others are full: what shuns
 * it cannot go anywhere, and must not be read, since it would stand before what can. Where two have room,
 * the tasks that are read shun one of them at most, each: the other is filled, or all are served.
 * Undefined: nobody could run it.
 */
export function askOf(
  id: string,
  needs: Needs,
  books: readonly Book[],
): { id: string; most: number; notShunning: string | null } | undefined {
  const able = books.filter(({ consumer }) => isFor(needs, consumer));
  if (able.length === 0) return undefined;
  const room = able.reduce((sum, book) => sum + book.freeSlots, 0);
  const [only, ...more] = able.filter((book) => book.hasRoomFor(needs));
  const isAlone = only !== undefined && more.length === 0 && able.length > 1;
  return { id, most: Math.max(1, room), notShunning: isAlone ? only.consumer.id : null };
}
