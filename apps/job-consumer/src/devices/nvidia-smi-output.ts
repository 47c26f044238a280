import { XMLParser } from 'fast-xml-parser';
import { AppError } from '@inference-server/errors';

/** A GPU, or a slice (MIG device) of one, as its driver tells of it; null: it does not tell. */
export interface FoundGpu {
  /** As an engine is asked for it: `GPU-…`, or `MIG-…` of a slice. */
  uuid: string;
  /** Of a slice: the name of its GPU and that of its profile. */
  name: string | null;
  memoryMib: number | null;
  driver: string | null;
  /** What its GPU needs before it can be relied on, in the driver's words, e.g. `Reset`. */
  needs: string | null;
}

/** Longer answers are refused: sixteen GPUs take a tenth of it. */
export const maxAnswerBytes = 4 * 1024 ** 2;

/**
 * What `nvidia-smi -q -x` and `nvidia-smi -L` tell together: the first has no UUIDs of slices in the
 * usual drivers, the second no sizes. A GPU that is divided (MIG mode) is not in the result, since no
 * container can have it as a whole: its slices are. A GPU that tells no UUID cannot be asked for, and is
 * left out. Throws AppError for anything that is not such an answer.
 */
export function readGpus(xml: string, list: string): FoundGpu[] {
  for (const text of [xml, list]) {
    if (Buffer.byteLength(text) > maxAnswerBytes) throw unexpected('it is longer than 4 MiB');
  }
  const log = parseLog(xml);
  const gpus = elementsAt(log, 'gpu');
  if (gpus.length === 0 && textAt(log, 'attached_gpus') !== '0') {
    throw unexpected('it tells of no GPU, and not that there is none');
  }
  const listed = readList(list);
  const driver = textAt(log, 'driver_version');
  return gpus.flatMap((gpu) => {
    const uuid = uuidOf(gpu);
    if (uuid === null) return [];
    return textAt(gpu, 'mig_mode', 'current_mig') === 'Enabled'
      ? slicesOf(gpu, uuid, { driver, listed })
      : [
          {
            ...{ uuid, name: textAt(gpu, 'product_name'), driver },
            ...{ memoryMib: memoryOf(gpu), needs: needsOf(gpu) },
          },
        ];
  });
}

/** Drivers from R550 on name an action; those before, whether there must be a reset. */
function needsOf(gpu: unknown): string | null {
  const action = textAt(gpu, 'gpu_recovery_action');
  if (action !== null) return action === 'None' ? null : action;
  return textAt(gpu, 'gpu_reset_status', 'reset_required') === 'Yes' ? 'Reset' : null;
}

/** Some drivers write a warning before or after the document, and its type is of no use here. */
function parseLog(xml: string): unknown {
  const from = xml.indexOf(`<${root}>`);
  const end = `</${root}>`;
  const to = xml.lastIndexOf(end);
  if (from < 0 || to < from) throw unexpected('it is no whole nvidia_smi_log');
  try {
    const document: unknown = parser.parse(xml.slice(from, to + end.length));
    return at(document, root);
  } catch (error) {
    throw unexpected('it is no XML', error);
  }
}

const root = 'nvidia_smi_log';

/**
 * What holds names of others' programs, or is malformed in some drivers, is passed over. Strictness is
 * not asked for: what is missed by it shows as an absent element.
 */
const parser = new XMLParser({
  parseTagValue: false,
  processEntities: false,
  isArray: (name) => name === 'gpu' || name === 'mig_device',
  stopNodes: ['processes', 'accounted_processes', 'supported_clocks'].map(
    (name) => `${root}.gpu.${name}`,
  ),
});

function uuidOf(gpu: unknown): string | null {
  if (typeof at(gpu, 'uuid') !== 'string') throw unexpected('a GPU in it has not one UUID');
  const uuid = textAt(gpu, 'uuid');
  if (uuid !== null && !gpuUuid.test(uuid)) throw unexpected('a UUID in it has no known form');
  return uuid;
}

const gpuUuid = /^GPU-[A-Za-z0-9-]{1,80}$/;
/** Drivers before 470 name slices by the UUID of the GPU and two numbers. */
const sliceUuid = /^MIG-[A-Za-z0-9/-]{1,80}$/;

interface Slice {
  uuid: string;
  profile: string;
}

function slicesOf(
  gpu: unknown,
  gpuUuid: string,
  { driver, listed }: { driver: string | null; listed: ReadonlyMap<string, Slice> },
): FoundGpu[] {
  return elementsAt(gpu, 'mig_devices', 'mig_device').map((slice) => {
    const index = textAt(slice, 'index');
    const found = listed.get(`${gpuUuid} ${index ?? ''}`);
    const uuid = textAt(slice, 'uuid') ?? found?.uuid;
    if (uuid === undefined || !sliceUuid.test(uuid)) {
      throw unexpected(`slice ${index ?? '?'} of ${gpuUuid} has no UUID`);
    }
    const product = textAt(gpu, 'product_name');
    const name = product && [product, 'MIG', found?.profile].filter(Boolean).join(' ');
    return { uuid, name, driver, memoryMib: memoryOf(slice), needs: needsOf(gpu) };
  });
}

/** The slices by the UUID of their GPU and their number there. */
function readList(list: string): Map<string, Slice> {
  const slices = new Map<string, Slice>();
  let gpu: string | undefined;
  for (const line of list.split(/\r?\n/)) {
    const slice = /^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (\S+)\)$/.exec(line);
    if (slice === null) gpu = /^GPU \d+: .*\(UUID: (\S+)\)$/.exec(line)?.[1];
    const [, profile, index, uuid] = slice ?? [];
    if (gpu === undefined || profile === undefined || uuid === undefined) continue;
    slices.set(`${gpu} ${index ?? ''}`, { uuid, profile });
  }
  return slices;
}

function memoryOf(device: unknown): number | null {
  const text = textAt(device, 'fb_memory_usage', 'total');
  const [, mib] = /^(\d{1,15}) MiB$/.exec(text ?? '') ?? [];
  return mib === undefined ? null : Number(mib);
}

/** Null when it is absent, or says that nobody can tell. */
function textAt(node: unknown, ...path: string[]): string | null {
  const text = at(node, ...path);
  return typeof text !== 'string' || text === '' || unknowns.test(text) ? null : text;
}

/** With or without brackets, as the driver's age has it. */
const unknowns = /^(?:\[.*\]|N\/A|ERR!|Unknown Error|GPU is lost|Insufficient Permissions)$/i;

function elementsAt(node: unknown, ...path: string[]): unknown[] {
  const elements = at(node, ...path);
  return Array.isArray(elements) ? elements : [];
}

function at(node: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>(
    (parent, name) =>
      typeof parent === 'object' && parent !== null && Object.hasOwn(parent, name)
        ? (parent as Record<string, unknown>)[name]
        : undefined,
    node,
  );
}

function unexpected(why: string, cause?: unknown): AppError {
  return new AppError('INTERNAL', `The answer of nvidia-smi is not understood: ${why}.`, { cause });
}
