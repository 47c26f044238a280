import { AppError } from '@inference-server/errors';
import {
  known,
  notUnderstood,
  readList,
  readRows,
  readSliceMemory,
  type FoundGpu,
  type ListedGpu,
} from './nvidia-smi-output.js';

/** Runs nvidia-smi, wherever that is. */
export type RunSmi = (args: string[]) => Promise<SmiRun>;

/** What one run of nvidia-smi came to. */
export interface SmiRun {
  /** Null: a signal ended it. */
  exitCode: number | null;
  output: string;
  /** Empty where it comes with the output. */
  errors: string;
}

export interface GpuListing {
  gpus: FoundGpu[];
  /** The UUIDs of the GPUs that answer, be they divided or not. */
  answering: string[];
  /** The UUIDs of those that are divided, and have no slices: no container can have anything of them. */
  unsliced: string[];
  /** What was said of those that do not answer. */
  failures: string[];
}

/**
 * The devices that nvidia-smi tells of: GPUs, and in place of one that is divided (MIG mode) its slices, since
 * no container can have it as a whole. When it fails on all of them together, which one that has fallen off
 * its bus is enough for, those are there that it lists all the same, or tells of alone. Throws AppError with its
 * last words when it tells of none, be it there or not, and when its answer is not understood.
 */
export async function listGpus(run: RunSmi): Promise<GpuListing> {
  const whole = await run(['-L']);
  const { gpus, others } = readList(`${whole.output}\n${whole.errors}`);
  const failures = others.filter((line) => ofOneGpu.test(line));
  if (whole.exitCode === 0 && gpus.length > 0) {
    const answering = uuidsOf(gpus);
    const only = failures.length > 0 ? onlyOf(answering) : [];
    return { ...(await describe(run, gpus, only)), answering, failures };
  }
  if (gpus.length === 0 && failures.length === 0) {
    if (tellsOfNone(whole)) return { ...nothing, answering: [], failures };
    if (whole.exitCode === 0) throw notUnderstood('it lists no GPU, and not that there is none');
  }
  // One that a signal has ended may have said only half; a driver that does not answer says so of each.
  if (whole.exitCode === null || ofDriver.test(wordsOf(whole))) throw failureOf(whole);
  const alone = await listOneByOne(run, gpus);
  const said = alone.failures.length > 0 ? alone.failures : failures;
  // What is said of whatever number is asked for is not of a GPU.
  const isOfAll = alone.failures.length === mostGpus;
  if (alone.gpus.length === 0 && (isOfAll || said.length === 0)) throw failureOf(whole);
  const answering = uuidsOf(alone.gpus);
  return {
    ...(answering.length === 0 ? nothing : await describe(run, alone.gpus, onlyOf(answering))),
    answering,
    failures: said.length > 0 ? said : [wordsOf(whole)],
  };
}

const nothing = { gpus: [], unsliced: [] };

function uuidsOf(gpus: readonly ListedGpu[]): string[] {
  return gpus.map(({ uuid }) => uuid);
}

/** Has nvidia-smi asked for these GPUs alone. */
export function onlyOf(uuids: readonly string[]): string[] {
  return ['-i', uuids.join(',')];
}

/** `known`: those that were listed all the same. */
async function listOneByOne(
  run: RunSmi,
  known: readonly ListedGpu[],
): Promise<{ gpus: ListedGpu[]; failures: string[] }> {
  const gpus = new Map(known.map((gpu) => [gpu.uuid, gpu]));
  const failures: string[] = [];
  for (let index = 0; index < mostGpus; index += 1) {
    const alone = ['-i', `${index}`];
    const told = await run(['--query-gpu=uuid,name', csv, ...alone]);
    const [row] = readRows(told.output);
    if (row !== undefined) {
      const [uuid, name] = row;
      // Some of them list all, whichever is asked for.
      const list = await run(['-L', ...alone]);
      const listed = list.exitCode === 0 ? readList(list.output).gpus : [];
      const slices = listed.find((gpu) => gpu.uuid === uuid)?.slices ?? null;
      if (!gpus.has(uuid)) gpus.set(uuid, { uuid, name: name.join(', '), slices });
    } else if (ofDriver.test(wordsOf(told))) throw failureOf(told);
    else if (ofOneGpu.test(wordsOf(told))) failures.push(`GPU ${index}: ${wordsOf(told)}`);
    else if (tellsOfNone(told)) break;
    else throw failureOf(told);
  }
  return { gpus: [...gpus.values()], failures };
}

const csv = '--format=csv,noheader,nounits';

/** What is said of one that does not answer, be it alone or among others. */
const ofOneGpu = /unable to determine the device handle|is lost|requires reset|unknown error/i;

/** It is not a GPU that is in trouble, and each alone would say the same. */
const ofDriver = /failed to initialize NVML|communicate with the NVIDIA driver/i;

/** More than a host has. */
const mostGpus = 32;

/** A driver without a GPU, or without one of that number. */
function tellsOfNone({ exitCode, output }: SmiRun): boolean {
  return exitCode !== null && /no devices (?:were )?found/i.test(output);
}

/** `only`: what to ask with, where nvidia-smi is not to be asked for all. */
async function describe(
  run: RunSmi,
  listed: readonly ListedGpu[],
  only: readonly string[],
): Promise<Pick<GpuListing, 'gpus' | 'unsliced'>> {
  const { fields, rows } = await queryGpus(run, only);
  const memoryOf = new Map<string, number>();
  for (const { uuid, slices } of listed) {
    if (slices === null || slices.length === 0) continue;
    const { output } = await run(['-q', '-x', '-i', uuid]);
    for (const [index, mib] of readSliceMemory(output, uuid)) {
      memoryOf.set(`${uuid} ${index}`, mib);
    }
  }
  const unsliced: string[] = [];
  const gpus = listed.flatMap((gpu): FoundGpu[] => {
    const row = rows.get(gpu.uuid) ?? [];
    const fieldOf = (name: string) => known(row[fields.indexOf(name)]);
    const common = { driver: fieldOf('driver_version'), needs: needsIn(row, fieldOf) };
    const slices = gpu.slices ?? [];
    if (slices.length === 0 && fieldOf('mig.mode.current') !== 'Enabled') {
      const memoryMib = mibIn(fieldOf('memory.total'));
      return [{ uuid: gpu.uuid, name: gpu.name, memoryMib, ...common }];
    }
    if (gpu.slices === null) throw notUnderstood(`it does not list the slices of ${gpu.uuid}`);
    if (slices.length === 0) unsliced.push(gpu.uuid);
    return slices.map(({ uuid, profile, index }) => ({
      uuid,
      gpuUuid: gpu.uuid,
      name: `${gpu.name} MIG ${profile}`,
      memoryMib: memoryOf.get(`${gpu.uuid} ${index}`) ?? null,
      ...common,
    }));
  });
  return { gpus, unsliced };
}

/**
 * The rows have the UUID and then these fields. A driver that does not know one of them answers with none: the
 * next of the forms is asked for then. Rows that come before it fails at a GPU count.
 */
async function queryGpus(
  run: RunSmi,
  only: readonly string[],
): Promise<{ fields: string[]; rows: Map<string, string[]> }> {
  for (const more of newerFields) {
    const fields = ['memory.total', 'driver_version', ...more];
    const answer = await run([`--query-gpu=uuid,${fields.join(',')}`, csv, ...only]);
    const rows = readRows(answer.output);
    if (answer.exitCode === 0 || rows.size > 0) return { fields, rows };
  }
  return { fields: [], rows: new Map() };
}

/** Since R550, R535, R450. */
const newerFields = [
  ['mig.mode.current', 'gpu_recovery_action'],
  ['mig.mode.current', 'gpu_reset_status.reset_required'],
  ['mig.mode.current'],
  [],
];

/**
 * What concerns the links between GPUs alone (`Drain P2P`) keeps nobody from working on one. A driver that can
 * tell nothing of a GPU any more says why in place of each field.
 */
function needsIn(row: readonly string[], fieldOf: (name: string) => string | null): string | null {
  if (row.some((field) => /\bis lost\b/i.test(field))) return 'Reboot';
  if (row.some((field) => /\brequires reset\b/i.test(field))) return 'Reset';
  const action = fieldOf('gpu_recovery_action') ?? '';
  if (/\b(?:reset|reboot)\b/i.test(action)) return action;
  return fieldOf('gpu_reset_status.reset_required') === 'Yes' ? 'Reset' : null;
}

function mibIn(field: string | null): number | null {
  return field !== null && /^\d{1,9}$/.test(field) ? Number(field) : null;
}

/** Throws AppError when it failed. */
export function outputOf(run: SmiRun): string {
  if (run.exitCode === 0) return run.output;
  throw failureOf(run);
}

function failureOf(run: SmiRun): AppError {
  const how = run.exitCode === null ? 'was ended by a signal' : `ended with ${run.exitCode}`;
  return new AppError('INTERNAL', `nvidia-smi ${how}: ${wordsOf(run)}`);
}

/** Some of its complaints come as output. */
function wordsOf({ errors, output }: SmiRun): string {
  return lastWords(errors) || lastWords(output) || 'it said nothing';
}

function lastWords(text: string): string {
  return text
    .trim()
    .split(/\s*\n\s*/)
    .slice(-3)
    .join(' ')
    .slice(-300);
}
