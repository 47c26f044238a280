import Type, { type Static } from 'typebox';
import { Labels } from './labels.js';
import { maxStoredInteger } from './stored-integer.js';

const OrNull = <Schema extends Type.TSchema>(schema: Schema, description: string) =>
  Type.Union([schema, Type.Null()], { description });
const Mib = Type.Integer({ minimum: 1, maximum: maxStoredInteger });

/** What a run of a model needs of the consumer that it runs on. Null is what the model does not say. */
export const Needs = Type.Object({
  use_gpu: Type.Boolean(),
  gpu_count: Type.Integer({
    minimum: 1,
    description: 'With `use_gpu`: how many GPUs of one host a run has.',
  }),
  gpu_memory_mib: OrNull(
    Mib,
    'What a run takes of the memory of each of its GPUs; null: it has them alone.',
  ),
  gpu_memory_exceeded: Type.Boolean({
    description:
      'Whether a run was seen to take more of a GPU than `gpu_memory_mib` says: since then they have theirs alone.',
  }),
  cpus: OrNull(Type.Number({ exclusiveMinimum: 0 }), "Cores; null: the consumer's default."),
  memory_mib: OrNull(Mib, "Memory of the host, without swap; null: the consumer's default."),
  shm_mib: OrNull(Mib, "Size of /dev/shm; null: the consumer's default."),
  labels: Labels,
});
export type Needs = Static<typeof Needs>;
