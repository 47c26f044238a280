import { readdir, readFile } from 'node:fs/promises';
import { waitUntil } from '@inference-server/local-services';
import type { AppProcess } from '../world/app-process.js';
import type { World } from '../world/world.js';

/** What a process of ours holds: open files and connections, and memory. */
export interface Footprint {
  process: string;
  /** Open descriptors. */
  files: number;
  memoryMib: number;
}

/**
 * How much more a process may hold at rest than one of its name when it had just begun to serve:
 * connections that are kept for the next call, and the memory that Node keeps of what it once needed. What
 * it held before it was last killed or replaced has gone with that: this is about what the last faults and
 * tasks have left open, not about what grows over days.
 */
const filesMore = 24;
const memoryMoreMib = 128;
/** Connections are kept for so long that nobody uses any more, and a heap is tidied up. */
const tidyWithinMs = 60_000;

/** What every process of ours holds now. */
export async function footprintsOf(
  world: Pick<World, 'publicApis' | 'privateApis' | 'consumers'>,
): Promise<Footprint[]> {
  const all = [...world.publicApis, ...world.privateApis, ...world.consumers];
  const found = await Promise.all(all.map(footprintOf));
  return found.filter((one) => one !== undefined);
}

/** What they hold at rest, and what of it is more than `anew` allows. */
export async function footprintsAtRest(
  world: Parameters<typeof footprintsOf>[0],
  anew: readonly Footprint[],
  signal: AbortSignal,
): Promise<{ footprints: Footprint[]; tooLarge: string[] }> {
  let footprints: Footprint[] = [];
  let tooLarge: string[] = [];
  const isTidy = async () => {
    footprints = await footprintsOf(world);
    tooLarge = grown(anew, footprints);
    return tooLarge.length === 0;
  };
  await waitUntil(isTidy, { timeoutMs: tidyWithinMs, everyMs: 1_000, signal });
  return { footprints, tooLarge };
}

/** Every process that holds too much more than before, or is not there any more. */
export function grown(before: readonly Footprint[], after: readonly Footprint[]): string[] {
  return before.flatMap((first) => {
    const last = after.find((one) => one.process === first.process);
    if (last === undefined) return [`${first.process} does not run`];
    const isIn =
      last.files <= first.files + filesMore && last.memoryMib <= first.memoryMib + memoryMoreMib;
    return isIn ? [] : [`${tell(last)}; when it began ${tell(first)}`];
  });
}

function tell({ process, files, memoryMib }: Footprint): string {
  return `${process} holds ${files} files and connections, ${memoryMib} MiB`;
}

async function footprintOf({ name, pid }: AppProcess): Promise<Footprint | undefined> {
  if (pid === undefined) return undefined;
  // One that ends meanwhile has none any more.
  const files = await readdir(`/proc/${pid}/fd`).catch(() => undefined);
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  if (files === undefined || status === '') return undefined;
  const kib = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
  return { process: name, files: files.length, memoryMib: Math.round(kib / 1024) };
}
