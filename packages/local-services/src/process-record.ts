import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '@inference-server/errors';

/** Names one process for ever, as far as this machine goes. */
export interface ProcessIdentity {
  pid: number;
  /** Field 22 of /proc/<pid>/stat: clock ticks since the boot. */
  startTime: string;
  bootId: string;
}

/**
 * What a supervisor writes down about a child right after it has started it, so that the next
 * supervisor on the same data folder can tell its leftovers from everybody else's processes. A pid
 * alone says nothing (numbers are used again); pid, start time and boot together name one process.
 */
export interface ProcessRecord extends ProcessIdentity {
  name: string;
  command: string;
  args: readonly string[];
  port?: number;
  stopSignal: NodeJS.Signals;
  stopGraceMs: number;
}

/** Synchronous on purpose: there is no moment in which the child runs and the record can be lost. */
export function writeRecord(
  dataDir: string,
  record: Omit<ProcessRecord, 'startTime' | 'bootId'>,
): void {
  const identity = identityOf(record.pid);
  if (identity === undefined) return;
  const path = recordPath(dataDir, record.name);
  mkdirSync(join(dataDir, 'run'), { recursive: true, mode: 0o700 });
  const full: ProcessRecord = { ...record, ...identity };
  writeFileSync(`${path}.part`, JSON.stringify(full, undefined, 2), { mode: 0o600 });
  renameSync(`${path}.part`, path);
}

export async function removeRecord(dataDir: string, name: string): Promise<void> {
  await rm(recordPath(dataDir, name), { force: true });
}

/** Every record of the data folder. One that cannot be read names no process: it is left out. */
export async function readRecords(dataDir: string): Promise<ProcessRecord[]> {
  const names = await readdir(join(dataDir, 'run')).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  const records = await Promise.all(
    names
      .filter((name) => name.endsWith('.json'))
      .map(async (name) => parseRecord(await readFile(join(dataDir, 'run', name), 'utf8'))),
  );
  return records.filter((record) => record !== undefined);
}

/** Whether that very process runs now. */
export function isAlive({ pid, startTime, bootId }: ProcessIdentity): boolean {
  return bootId === currentBootId() && startTimeOf(pid) === startTime;
}

/** Undefined when there is no such process now. */
export function identityOf(pid: number): ProcessIdentity | undefined {
  const startTime = startTimeOf(pid);
  return startTime === undefined ? undefined : { pid, startTime, bootId: currentBootId() };
}

/** The start time of a process that runs now; undefined when there is none (or only a zombie). */
function startTimeOf(pid: number): string | undefined {
  let stat;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The second field is the command in parentheses and may itself hold blanks and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

function currentBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

function recordPath(dataDir: string, name: string): string {
  return join(dataDir, 'run', `${name}.json`);
}

function parseRecord(text: string): ProcessRecord | undefined {
  try {
    const record = JSON.parse(text) as Partial<ProcessRecord>;
    return typeof record.name === 'string' &&
      Number.isInteger(record.pid) &&
      typeof record.startTime === 'string' &&
      typeof record.bootId === 'string'
      ? (record as ProcessRecord)
      : undefined;
  } catch {
    return undefined;
  }
}
