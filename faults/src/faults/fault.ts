import type { CrashPoint } from '@inference-server/service-kit';
import type { ModelName } from '../load/models.js';
import type { Random } from '../random.js';
import type { AppProcess } from '../world/app-process.js';
import { leaseS } from '../world/apps.js';
import type { World } from '../world/world.js';

/** The steps of a task's life, each with the points at which a process can be stopped in it. */
export const phases = {
  post: ['post_stored', 'post_committed'],
  ticket: ['ticket_assigned', 'ticket_taken'],
  claim: ['claim_committed', 'claim_won'],
  stage: ['input_staged'],
  run: ['container_started'],
  collect: ['container_ended', 'output_stored', 'output_sent'],
  settle: ['settle_committed', 'settled'],
} as const satisfies Record<string, readonly CrashPoint[]>;

export type Phase = keyof typeof phases;
export const allPhases = Object.keys(phases) as Phase[];

/** What a fault finds: one process of ours stands still (SIGSTOP) in the phase. */
export interface Scene {
  world: World;
  random: Random;
  phase: Phase;
  /** The process that stands still: a private-api or a consumer. */
  at: AppProcess;
  /** Lets it go on; doing it twice is fine. */
  goOn(): void;
  /** Writes what is about to be harmed into the run's log: pid or connection, and how. */
  evidence(what: string, more?: Record<string, unknown>): void;
  /** The same of what has happened, as it was seen: a stroke without any has not hit. */
  proof(what: string, more?: Record<string, unknown>): void;
  /**
   * From now on until all is whole again a container of these consumers (names of their processes) may be
   * started again, whatever its attempt came to: their engine is lost, or the container is. Or until what is
   * returned is called.
   */
  excuseRestarts(consumers: readonly string[]): () => void;
  /**
   * Likewise a lease of these consumers may lapse, if all that lasts for as long as a lease: the next
   * attempt may be started then. Their engine is not harmed, and tells of every end. `for good`: they
   * never come back.
   */
  excuseLapses(consumers: readonly string[], how?: 'for good'): void;
  /**
   * Likewise, but only of attempts of which their consumer has said meanwhile that a renewal failed: one of
   * several private-apis answers nothing in time, and each renewal goes to one of them by chance.
   */
  excuseUnrenewed(consumers: readonly string[]): void;
  /** Likewise their engine may forget with which code a container has ended: then it says 255. */
  excuseForgottenEnds(consumers: readonly string[]): void;
  /**
   * Likewise their engine may stop a container that has just started. One with live-restore looks, when it
   * is to end, whether any runs, and lets all be if so; when none does it stops what has started since.
   * Until what is returned is called: the engine has ended.
   */
  excuseStoppedStarts(consumers: readonly string[]): () => void;
  /** In this time (Unix, ms) no private-api could flush anything. */
  noFlush(from: number, until: number): void;
  /** Likewise it may not tell that a process was out of memory: its disk takes no bytes. */
  excuseUntoldMemory(consumers: readonly string[]): void;
  /** A task of the fault's model, beside the one that is met. */
  postOneMore(): void;
  /** What comes now undoes the harm: how long the server takes to recover counts from the last time. */
  undoing(): void;
  /** Waits; throws when the run ends. */
  pause(ms: number): Promise<void>;
}

export interface Fault {
  name: string;
  phases: readonly Phase[];
  /** Whether it strikes at every point of a phase in each round, and not at one after the other. */
  isAtEveryPoint?: boolean;
  /** Of the stroke's own tasks. Default: `script`. */
  model?: ModelName;
  /** Harms, and resolves when the harm is over; the runner makes whole what still is not. */
  strike(scene: Scene): Promise<unknown>;
}

/** Longer than a lease of the world lasts. */
export const longerThanLeaseMs = 1.5 * leaseS * 1000;
