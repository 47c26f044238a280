import { readdir, readFile } from 'node:fs/promises';
import type { Engine } from '../world/world.js';
import { familyOf } from '../world/process-family.js';

/** What is wrong with the processes of an engine at rest, by name. */
export interface EngineProcesses {
  /** A second containerd, whatever else is of a container: what an engine that ended has left behind. */
  left: string[];
  /**
   * Shims (what stands between containerd and a container) in which nothing runs. A containerd that is
   * killed in the middle of a start leaves its own behind, and never looks at it again: nothing that a
   * client of the engine could see or end.
   */
  emptyShims: string[];
}

/** Of an engine without containers one containerd runs, and nothing else of containerd's. */
export async function processesOf({
  name,
  folder,
}: Pick<Engine, 'name' | 'folder'>): Promise<EngineProcesses> {
  const found: EngineProcesses = { left: [], emptyShims: [] };
  let containerds = 0;
  for (const pid of (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry))) {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const [program = '', ...args] = commandLine.split('\0');
    const [what = ''] = program.split('/').slice(-1);
    if (!args.some((arg) => arg.includes(`${folder}/`))) continue;
    const isShim = what.startsWith('containerd-shim');
    if (what === 'containerd') containerds += 1;
    const below = isShim ? await commandsBelow(Number(pid)) : [];
    const process = [`${name}: ${what} ${pid} (process)`, ...below].join(', with ');
    if (isShim && below.every((command) => startsNothing.test(command))) {
      found.emptyShims.push(process);
    } else if (isShim || what.startsWith('runc') || (what === 'containerd' && containerds > 1)) {
      found.left.push(process);
    }
  }
  return found;
}

/** What a start has come to that nobody goes on with: the container's own program does not run yet. */
const startsNothing = /^(\S*\/)?runc init\b/;

async function commandsBelow(pid: number): Promise<string[]> {
  const [, ...children] = await familyOf(pid);
  const commands = await Promise.all(
    children.map((child) => readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '')),
  );
  return commands.map((command) => command.replaceAll('\0', ' ').trim());
}

/** For each kill of an engine where a start may be under way there may be one; more are a finding. */
export function areOfKills(
  emptyShims: readonly string[],
  strokes: readonly { fault: string; phase: string; hit?: unknown }[],
): boolean {
  const kills = strokes.filter(
    ({ fault, phase, hit }) =>
      hit !== undefined &&
      ['claim', 'stage', 'run'].includes(phase) &&
      /^the engine .* gets SIGKILL$/.test(fault),
  );
  return emptyShims.length <= kills.length;
}
