import Type, { type Static } from 'typebox';
import type { ConsumerRegistration } from './schemas/consumer.js';
import { maxStoredInteger } from './schemas/stored-integer.js';
import { textPattern } from './text-pattern.js';

const Count = Type.Optional(Type.Integer({ minimum: 1, maximum: maxStoredInteger }));

/**
 * What a consumer may say that it has. It says so itself, and is sent tasks accordingly: without a rule one
 * that somebody has taken over draws to it what it likes.
 */
export const ConsumerRule = Type.Object(
  {
    name: Type.String({ minLength: 1, description: 'Its id. *: anything.' }),
    max_slots: Count,
    max_cpus: Count,
    max_memory_mib: Count,
    max_gpu_memory_mib: Count,
    devices: Type.Optional(
      Type.Array(Type.String({ minLength: 1 }), {
        description: 'One of these, by UUID or CDI name; *: anything. []: none. Left out: any.',
      }),
    ),
    gpus: Type.Optional(
      Type.Array(Type.String({ minLength: 1 }), {
        description:
          'Of a slice: its GPU is one of these, by UUID; *: anything. Left out: none where devices are named.',
      }),
    ),
    labels: Type.Optional(
      Type.Record(Type.String(), Type.Array(Type.String()), {
        description: 'No labels but these, with one of these values; *: anything. Left out: any.',
      }),
    ),
  },
  { additionalProperties: false, description: 'What it says must all hold of a consumer.' },
);
export type ConsumerRule = Static<typeof ConsumerRule>;

/** Why a consumer may not register so, in words of the rules; undefined: it may. */
export function refusalOfConsumer(
  rules: readonly ConsumerRule[] | undefined,
  id: string,
  registration: ConsumerRegistration,
): string | undefined {
  if (rules === undefined) return undefined;
  const own = rules.filter(({ name }) => textPattern(name).test(id));
  if (own.length === 0) return 'no entry has its name.';
  const beyond = own.map((rule) => beyondRule(rule, registration));
  // One entry that lets it in is enough; of others, the first tells why.
  return beyond.includes(undefined) ? undefined : beyond[0];
}

function beyondRule(
  rule: ConsumerRule,
  { slots, share, device, labels }: ConsumerRegistration,
): string | undefined {
  const { max_slots: maxSlots, max_cpus: maxCpus, max_memory_mib: maxMemoryMib } = rule;
  const { max_gpu_memory_mib: maxGpuMemoryMib, devices, gpus = devices && [] } = rule;
  if (slots > (maxSlots ?? Infinity)) return `it may have ${maxSlots} slots.`;
  if (share.cpus > (maxCpus ?? Infinity)) return `it may have ${maxCpus} cores.`;
  if (share.memory_mib > (maxMemoryMib ?? Infinity)) return `it may have ${maxMemoryMib} MiB.`;
  if (device !== null && devices !== undefined && !matchesAny(devices, device.uuid)) {
    return 'its device is none of the devices.';
  }
  // Who has a slice keeps the whole GPU from others.
  const gpu = device?.gpu_uuid;
  if (gpu !== undefined && gpus !== undefined && !matchesAny(gpus, gpu)) {
    return 'the GPU of its slice is none of the gpus.';
  }
  // One of which it does not say how much it has is given tasks of any size.
  if (device !== null && (device.memory_mib ?? Infinity) > (maxGpuMemoryMib ?? Infinity)) {
    return `its device may have ${maxGpuMemoryMib} MiB.`;
  }
  const foreign = Object.entries(labels).find(
    ([key, value]) => rule.labels !== undefined && !matchesAny(rule.labels[key] ?? [], value),
  );
  return foreign && 'one of its labels is none of the labels.';
}

function matchesAny(patterns: readonly string[], text: string): boolean {
  return patterns.some((pattern) => textPattern(pattern).test(text));
}
