import type { FailureReason, TaskState } from '@inference-server/contracts';
import { sha256 } from '../digests.js';
import type { Random } from '../random.js';
import type { ModelName } from './models.js';

/** One task as its caller wants it, and what must become of it. */
export interface TaskPlan {
  kind: string;
  model: ModelName;
  /** In the input zip; `run.sh` is what runs. */
  files: Record<string, Buffer>;
  /** Every file of the output, by its SHA-256; undefined where there is to be none. */
  output: Record<string, string> | undefined;
  /** How it may end; the first is what happens when nobody meddles. */
  ends: readonly [PlannedEnd, ...PlannedEnd[]];
  /** What the caller does after it was acknowledged, and how much later. */
  then?: { what: 'cancel' | 'delete'; afterMs: number };
}

export interface PlannedEnd {
  state: TaskState;
  /** Of a FAILED one. */
  reason?: FailureReason;
}

type Make = (random: Random) => Omit<TaskPlan, 'kind'>;

const finished = { state: 'FINISHED' } as const;
const cancelled = { state: 'CANCELLED' } as const;
const failedBy = (reason: FailureReason) => ({ state: 'FAILED', reason }) as const;

/** The kinds of a load, each with its share. */
export const taskKinds: readonly { name: string; share: number; make: Make }[] = [
  { name: 'quick', share: 30, make: (random) => digestOf(random, 0) },
  { name: 'slow', share: 12, make: (random) => digestOf(random, random.between(2, 8)) },
  { name: 'many files', share: 6, make: manyFiles },
  { name: 'big output', share: 5, make: bigOutput },
  { name: 'nothing written', share: 3, make: () => running('true', {}, {}) },
  { name: 'with model files', share: 6, make: ofModelFiles },
  { name: 'on the GPU', share: 8, make: (random) => digestOf(random, 0, 'gpu') },
  { name: 'of a pulled image', share: 4, make: (random) => digestOf(random, 0, 'pulled') },
  { name: 'failing', share: 5, make: () => failing('echo no >&2; exit 3', 'exit_code') },
  {
    name: 'out of memory',
    share: 4,
    // Of a child that ends before the engine listens, or with the container, the engine may not tell.
    make: () =>
      failing('sleep 0.5; head -c 200m /dev/zero | tail -n 1; sleep 1; exit 137', 'out_of_memory'),
  },
  { name: 'child out of memory, exit 0', share: 4, make: greedyChild },
  { name: 'deaf to SIGTERM', share: 3, make: deaf },
  { name: 'failing once', share: 3, make: failingOnce },
  { name: 'cancelled', share: 6, make: (random) => meddled(random, 'cancel') },
  { name: 'deleted', share: 5, make: (random) => meddled(random, 'delete') },
];

export function planTask(random: Random): TaskPlan {
  const whole = taskKinds.reduce((sum, { share }) => sum + share, 0);
  let rest = random.number() * whole;
  const kind = taskKinds.find(({ share }) => (rest -= share) < 0) ?? taskKinds[0];
  if (kind === undefined) throw new Error('there are no kinds of tasks');
  return { kind: kind.name, ...kind.make(random) };
}

/** Copies its input, and writes a digest of it. */
export function digestOf(
  random: Random,
  seconds: number,
  model: ModelName = 'script',
): Omit<TaskPlan, 'kind'> {
  const seed = random.bytes(random.between(1, 2_000) * 4);
  const sleep = seconds > 0 ? `sleep ${seconds}; ` : '';
  const script = `${sleep}cp /input/seed /output/seed; sha256sum < /input/seed | cut -c 1-64 > /output/digest`;
  const digest = Buffer.from(`${sha256(seed)}\n`);
  return { ...running(script, { seed }, { seed, digest }), model };
}

function manyFiles(random: Random): Omit<TaskPlan, 'kind'> {
  const count = random.between(200, 800);
  const word = random.bytes(8).toString('hex');
  const output: Record<string, Buffer> = {};
  for (let at = 0; at < count; at += 1) output[`f/${at}`] = Buffer.from(`${at} ${word}\n`);
  const script = `mkdir -p /output/f
    i=0; while [ $i -lt ${count} ]; do echo "$i ${word}" > /output/f/$i; i=$((i + 1)); done`;
  return running(script, {}, output);
}

/** Does not get smaller in a zip: what is repeated lies further apart than deflate looks. */
function bigOutput(random: Random): Omit<TaskPlan, 'kind'> {
  const piece = random.bytes(1024 ** 2);
  const times = random.between(4, 16);
  const script = `for i in $(seq ${times}); do cat /input/piece; done > /output/big`;
  return running(script, { piece }, { big: Buffer.concat(Array(times).fill(piece) as Buffer[]) });
}

function ofModelFiles(random: Random): Omit<TaskPlan, 'kind'> {
  const seed = random.bytes(64);
  const script = 'cat /model/weights /input/seed > /output/both';
  const both = Buffer.concat([modelWeights, seed]);
  return { ...running(script, { seed }, { both }), model: 'with-files' };
}

export const modelWeights = Buffer.from('the weights of the model\n'.repeat(4_000));

/** The kernel is told to take no other process than the child's: one that it lets live is a failure. */
function greedyChild(): Omit<TaskPlan, 'kind'> {
  const script = `if (echo 1000 > /proc/self/oom_score_adj; head -c 200m /dev/zero | tail -n 1 > /dev/null); then exit 8; fi
    echo done > /output/result`;
  return running(script, {}, { result: Buffer.from('done\n') });
}

function deaf(): Omit<TaskPlan, 'kind'> {
  const script = 'trap "" TERM; while true; do sleep 0.2; done';
  return { ...failing(script, 'timed_out'), model: 'short' };
}

/** Its model asks for one retry of its own failures; the second try cannot know of the first. */
function failingOnce(): Omit<TaskPlan, 'kind'> {
  return { ...failing('exit 4', 'exit_code'), model: 'retried' };
}

function meddled(random: Random, what: 'cancel' | 'delete'): Omit<TaskPlan, 'kind'> {
  const plan = digestOf(random, random.between(0, 6));
  return {
    ...plan,
    ends: [finished, cancelled],
    then: { what, afterMs: random.between(0, 6_000) },
  };
}

/**
 * The script is begun again when it has met a full disk, which the engine's can be, and for nothing else:
 * by its words, for cut of busybox ends with 0 all the same.
 */
function running(
  script: string,
  input: Record<string, Buffer>,
  output: Record<string, Buffer>,
): Omit<TaskPlan, 'kind'> {
  const digests = Object.entries(output).map(([name, bytes]) => [name, sha256(bytes)]);
  const again = `for try in $(seq 60); do
  words=$(sh -e /input/work.sh 2>&1); code=$?
  case "$words" in *'No space left'*) sleep 0.5; continue ;; esac
  test $code = 0 && exit; break
done
echo "$words" >&2; exit 9`;
  return {
    model: 'script',
    files: { ...input, 'work.sh': textOf(script), 'run.sh': textOf(again) },
    output: Object.fromEntries(digests) as Record<string, string>,
    ends: [finished],
  };
}

function failing(script: string, reason: FailureReason): Omit<TaskPlan, 'kind'> {
  return {
    model: 'script',
    files: { 'run.sh': textOf(script) },
    output: undefined,
    ends: [failedBy(reason)],
  };
}

function textOf(script: string): Buffer {
  return Buffer.from(`${script}\n`);
}
