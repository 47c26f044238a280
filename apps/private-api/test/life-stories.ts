import fc from 'fast-check';
import { taskTransitions } from '@inference-server/contracts';

export const consumerIds = ['a', 'b'] as const;
export type ConsumerId = (typeof consumerIds)[number];

/** Its engine is away for a moment; it signs off; an operator drains it for a moment. */
export type TicketBack = 'away' | 'sign off' | 'drain' | 'restart';

export type Happening =
  | { kind: 'assign' | 'claim' | 'adopt' | TicketBack; consumer: ConsumerId }
  | { kind: 'resend' | 'lapse' | 'cancel' | 'delete' | 'expire' }
  | { kind: 'renew' | 'park' | 'finish' | 'fail' | 'fault' | 'release' | 'gone'; lease: number };

const happenings: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('assign', 'assign', 'claim', 'claim', 'adopt', 'restart'),
    consumer: fc.constantFrom(...consumerIds),
  }),
  fc.record({
    kind: fc.constantFrom<TicketBack[]>('away', 'sign off', 'drain'),
    consumer: fc.constantFrom(...consumerIds),
  }),
  fc.record({ kind: fc.constantFrom('resend', 'lapse', 'lapse', 'cancel', 'delete', 'expire') }),
  fc.record({
    kind: fc.constantFrom('renew', 'park', 'finish', 'fail', 'fault', 'release', 'gone'),
    // Which of the leases that were ever won: the last ones most of the time.
    lease: fc.oneof(fc.constant(0), fc.nat({ max: 3 })),
  }),
);

/** As the holder of a lease settles. */
export const outcomes = {
  finish: 'finished',
  fail: 'failed',
  fault: 'fault',
  release: 'released',
  gone: 'cancelled',
} as const;

const assigned: Happening = { kind: 'assign', consumer: 'a' };
const claimed: Happening = { kind: 'claim', consumer: 'a' };
const lapsed: Happening = { kind: 'lapse' };
const restarted: Happening = { kind: 'restart', consumer: 'a' };
const adopted: Happening = { kind: 'adopt', consumer: 'a' };
const cancelled: Happening = { kind: 'cancel' };
const back = (kind: TicketBack): Happening => ({ kind, consumer: 'a' });
/** By the holder of the last lease. */
const end = (kind: keyof typeof outcomes): Happening => ({ kind, lease: 0 });
const renewed: Happening = { kind: 'renew', lease: 0 };

/** Every move of the table at least once, whatever the seed. */
export const told: Happening[][] = [
  [assigned, { kind: 'resend' }, back('away'), assigned, back('sign off'), assigned, back('drain')],
  [assigned, restarted, assigned, claimed, restarted, adopted],
  [assigned, claimed, { kind: 'resend' }, back('away'), back('sign off'), end('finish')],
  [assigned, claimed, end('fault'), assigned, back('drain'), assigned, claimed, end('finish')],
  [
    assigned,
    claimed,
    restarted,
    adopted,
    { kind: 'park', lease: 0 },
    renewed,
    cancelled,
    end('gone'),
  ],
  [assigned, claimed, lapsed, renewed, lapsed, assigned, renewed, end('finish')],
  [assigned, claimed, end('fail'), assigned, claimed, end('fail')],
  [cancelled],
  [assigned, cancelled],
  [{ kind: 'expire' }],
  [assigned, { kind: 'expire' }],
];

/** Random from the start, or from where a holder has it, or is to let go of it. */
export const stories: fc.Arbitrary<Happening[]> = fc
  .tuple(
    fc.constantFrom<Happening[]>(
      [],
      [assigned],
      [assigned, claimed],
      [assigned, claimed, cancelled],
      [assigned, claimed, restarted, adopted],
      [assigned, claimed, lapsed, assigned],
      [assigned, claimed, end('fail'), assigned, claimed],
    ),
    fc.array(happenings, { minLength: 3, maxLength: 20 }),
  )
  .map(([start, rest]) => [...start, ...rest]);

export interface Seen {
  /** What a story may come to, and how often it did. */
  branches: Record<string, number>;
  /** The moves of the table that were made: state, event. */
  moves: Set<string>;
}

export const newSeen = (): Seen => ({
  branches: {
    finished: 0,
    cancelled: 0,
    failed: 0,
    'tried again': 0,
    expired: 0,
    resumed: 0,
    adopted: 0,
    refused: 0,
    gone: 0,
    resent: 0,
    away: 0,
    'sign off': 0,
    drain: 0,
    restart: 0,
  },
  moves: new Set(),
});

/** Of the table: state, event. */
export const allMoves = Object.entries(taskTransitions).flatMap(([event, { from }]) =>
  from.map((state) => `${state} ${event}`),
);

/** What a holder names in its calls. */
export interface Lease {
  attempt: number;
  epoch: number;
  holder: string;
  consumer: ConsumerId;
}

export function isSame(one: Lease, other: Lease): boolean {
  return one.attempt === other.attempt && one.epoch === other.epoch && one.holder === other.holder;
}
