import { XMLParser } from 'fast-xml-parser';
import { AppError } from '@inference-server/errors';

// What nvidia-smi answers. Whoever runs something on a GPU can put what he likes into its reports, as the
// name of his program: so which devices there are comes from the list, which has no such names, and what
// they are from queries, which do not ask for them. Only the sizes of slices stand in a report alone.

/** A GPU, or a slice (MIG device) of one, as its driver tells of it; null: it does not tell. */
export interface FoundGpu {
  /** As an engine is asked for it: `GPU-…`, or `MIG-…` of a slice. */
  uuid: string;
  /** Of a slice: its GPU. */
  gpuUuid?: string;
  /** Of a slice: the name of its GPU and that of its profile. */
  name: string | null;
  memoryMib: number | null;
  driver: string | null;
  /** What its GPU needs before it can be relied on, in the driver's words, e.g. `Reset`. */
  needs: string | null;
}

/** Longer answers are refused: sixteen GPUs take a tenth of it. */
export const maxAnswerBytes = 4 * 1024 ** 2;

export interface ListedGpu {
  uuid: string;
  name: string;
  /** Null: nobody could tell. */
  slices: ListedSlice[] | null;
}

export interface ListedSlice {
  uuid: string;
  profile: string;
  /** Among those of its GPU. */
  index: number;
}

/** What `nvidia-smi -L` tells; `others`: the lines that are neither GPU nor slice. */
export function readList(list: string): { gpus: ListedGpu[]; others: string[] } {
  requireShort(list);
  const gpus: ListedGpu[] = [];
  const others: string[] = [];
  for (const line of list.split(/\r?\n/)) {
    const [, name, gpu] = /^GPU \d+: (.*) \(UUID: (GPU-[A-Za-z0-9-]{1,80})\)$/.exec(line) ?? [];
    // Drivers before R470 name slices by the UUID of the GPU and two numbers.
    const [, profile, index, slice] =
      /^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[A-Za-z0-9/-]{1,80})\)$/.exec(line) ?? [];
    const slices = gpus.at(-1)?.slices;
    if (name !== undefined && gpu !== undefined) gpus.push({ uuid: gpu, name, slices: [] });
    else if (slices && profile !== undefined && slice !== undefined) {
      slices.push({ uuid: slice, profile, index: Number(index) });
    } else if (line.trim() !== '') others.push(line.trim());
  }
  return { gpus, others };
}

/** The rows of an answer in CSV without a head, by their first field, a UUID; the others are words. */
export function readRows(csv: string): Map<string, string[]> {
  requireShort(csv);
  const rows = csv.split(/\r?\n/).map((line) => line.split(',').map((field) => field.trim()));
  return new Map(
    rows.flatMap(([uuid = '', ...fields]) => (uuid.startsWith('GPU-') ? [[uuid, fields]] : [])),
  );
}

/** A field of such a row; null when it says that nobody can tell. */
export function known(field: string | undefined): string | null {
  return field === undefined || field === '' || unknowns.test(field) ? null : field;
}

/** With or without brackets, as the driver's age has it. */
const unknowns =
  /^(?:\[.*\]|N\/A|ERR!|Unknown Error|GPU is lost|Insufficient Permissions|Not Supported)$/i;

/**
 * The memory of the slices of this GPU (MiB), by their index there, as `nvidia-smi -q -x` tells it: where it
 * does, and not in two ways. Slices that are compute instances of one GPU instance have its memory together, and
 * each is told all of it: an even part is each one's own.
 */
export function readSliceMemory(xml: string, gpuUuid: string): Map<number, number> {
  const found = new Map<number, number>();
  const doubtful = new Set<number>();
  /** The GPU instances that they are parts of. */
  const instances = new Map<number, string>();
  const gpus = elementsAt(parseLog(xml), 'gpu').filter((gpu) => textAt(gpu, 'uuid') === gpuUuid);
  for (const slice of gpus.flatMap((gpu) => elementsAt(gpu, 'mig_devices', 'mig_device'))) {
    const index = Number(textAt(slice, 'index'));
    const instance = textAt(slice, 'gpu_instance_id');
    if (instance !== '') instances.set(index, instance);
    const [, text] = /^(\d{1,9}) MiB$/.exec(textAt(slice, 'fb_memory_usage', 'total')) ?? [];
    if (text === undefined) continue;
    const mib = Number(text);
    if ((found.get(index) ?? mib) !== mib) doubtful.add(index);
    found.set(index, mib);
  }
  for (const index of doubtful) found.delete(index);
  return new Map(
    [...found].map(([index, mib]) => {
      const own = instances.get(index);
      const sharing = [...instances.values()].filter((instance) => instance === own).length;
      return [index, own === undefined ? mib : Math.floor(mib / sharing)];
    }),
  );
}

/** Undefined for what is none. Some drivers write a warning before or after the document. */
function parseLog(xml: string): unknown {
  if (Buffer.byteLength(xml) > maxAnswerBytes) return undefined;
  const from = xml.indexOf(`<${root}>`);
  const end = `</${root}>`;
  const to = xml.lastIndexOf(end);
  if (from < 0 || to < from) return undefined;
  try {
    const document: unknown = parser.parse(xml.slice(from, to + end.length));
    return at(document, root);
  } catch {
    return undefined;
  }
}

const root = 'nvidia_smi_log';

/** What holds names of others' programs, or is malformed in some drivers, is passed over. */
const parser = new XMLParser({
  parseTagValue: false,
  processEntities: false,
  isArray: (name) => name === 'gpu' || name === 'mig_device',
  stopNodes: ['processes', 'accounted_processes', 'supported_clocks'].map(
    (name) => `${root}.gpu.${name}`,
  ),
});

function textAt(node: unknown, ...path: string[]): string {
  const text = at(node, ...path);
  return typeof text === 'string' ? text : '';
}

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

function requireShort(text: string): void {
  if (Buffer.byteLength(text) > maxAnswerBytes) throw notUnderstood('it is longer than 4 MiB');
}

export function notUnderstood(why: string): AppError {
  return new AppError('INTERNAL', `The answer of nvidia-smi is not understood: ${why}.`);
}
