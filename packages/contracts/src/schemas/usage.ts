import Type, { type Static } from 'typebox';
import { maxStoredInteger } from './stored-integer.js';

const Amount = Type.Number({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Maybe = <Schema extends Type.TSchema>(schema: Schema, description: string) =>
  Type.Union([schema, Type.Null()], { description });

/**
 * What the container of an attempt used, by samples of the engine's counters: what came after the last one
 * is in none of them. Null is what nobody could see; what earlier consumers did not tell of is left out.
 */
export const Usage = Type.Object({
  samples: Type.Integer({
    minimum: 0,
    maximum: maxStoredInteger,
    description:
      'How often it was looked at: after 0.1 s, then after twice as long, every 5 s at most.',
  }),
  run_s: Maybe(Amount, 'How long it ran, by the clock of its engine.'),
  cpu_s: Maybe(Amount, 'Seconds of cores.'),
  memory_peak_mib: Maybe(
    Type.Integer({ minimum: 0, maximum: maxStoredInteger }),
    'The most memory that was seen, without what the kernel keeps of files.',
  ),
  read_bytes: Maybe(Amount, 'Read from disks, at each layer of them that the kernel counts.'),
  written_bytes: Maybe(Amount, 'Written to disks, likewise.'),
  gpu_s: Maybe(Amount, 'Seconds of GPUs: of each that it had, be it busy or not.'),
  gpu_memory_peak_mib: Type.Optional(
    Maybe(
      Type.Integer({ minimum: 0, maximum: maxStoredInteger }),
      'The most that its processes were seen to have of the memory of one GPU.',
    ),
  ),
  gpu_utilization: Type.Optional(
    Maybe(
      Type.Number({ minimum: 0, maximum: 100 }),
      'How busy its GPUs were, with all that shared them: percent, the mean of its time. Null of slices.',
    ),
  ),
});
export type Usage = Static<typeof Usage>;
