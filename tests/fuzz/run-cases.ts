import fc from 'fast-check';
import { messageOf } from '@inference-server/errors';

/** What is asked of a target. */
export interface FuzzRun {
  cases: number;
  seed: number;
  /** Called when a case begins. */
  onCase?: (() => void) | undefined;
}

export interface CaseOptions extends FuzzRun {
  atOnce: number;
  /** Called before every so many cases, with none of them running. */
  pause?: { every: number; work: () => Promise<void> };
}

/**
 * Runs `cases` cases made of `seed`, up to `atOnce` at a time, each on a lane of its own (0 to
 * `atOnce` - 1); `run` tells whether the case was accepted. Ends with the first failure: throws with
 * the seed, the number of the case and what `show` says of it. The same seed makes the same cases.
 */
export async function runCases<Case>(
  made: fc.Arbitrary<Case>,
  { cases, seed, onCase, atOnce, pause }: CaseOptions,
  run: (one: Case, lane: number) => Promise<boolean>,
  show: (one: Case) => string,
): Promise<{ accepted: number }> {
  const lanes = Array.from({ length: atOnce }, (_, at) => at);
  const running = new Set<Promise<void>>();
  const counts = { begun: 0, accepted: 0 };
  let failure: Error | undefined;

  const begin = async (one: Case, lane: number): Promise<void> => {
    counts.begun += 1;
    onCase?.();
    const number = counts.begun;
    try {
      if (await run(one, lane)) counts.accepted += 1;
    } catch (error) {
      failure ??= new Error(`seed ${seed}, case ${number}: ${messageOf(error)}\n${show(one)}`, {
        cause: error,
      });
    }
    lanes.push(lane);
  };

  const property = fc.asyncProperty(made, async (one) => {
    if (pause !== undefined && counts.begun % pause.every === 0) {
      await Promise.all(running);
      await pause.work();
    }
    while (lanes.length === 0) await Promise.race(running);
    const lane = lanes.shift() ?? 0;
    if (failure !== undefined) return false;
    const ends = begin(one, lane);
    running.add(ends);
    void ends.then(() => running.delete(ends));
    return true;
  });
  const found = await fc.check(property, { seed, numRuns: cases, endOnFailure: true });
  await Promise.all(running);
  if (failure !== undefined) throw failure;
  if (found.errorInstance !== null)
    throw new Error(messageOf(found.errorInstance), { cause: found.errorInstance });
  return { accepted: counts.accepted };
}
