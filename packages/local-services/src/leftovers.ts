import { isAlive, readRecords, removeRecord, type ProcessRecord } from './process-record.js';
import { waitUntil } from './wait-until.js';

/**
 * Ends what an earlier supervisor of this data folder left running, in the reverse order of
 * `startOrder`, and forgets the records of what runs no more. A process is ended only when pid,
 * start time and boot agree with its record; names are never looked at. Returns what was ended.
 */
export async function endLeftovers(
  dataDir: string,
  { signal, startOrder = [] }: { signal?: AbortSignal; startOrder?: readonly string[] } = {},
): Promise<ProcessRecord[]> {
  const rank = ({ name }: ProcessRecord) => startOrder.indexOf(name);
  const records = (await readRecords(dataDir)).sort((a, b) => rank(b) - rank(a));
  const ended: ProcessRecord[] = [];
  for (const record of records) {
    if (isAlive(record)) {
      await end(record, signal);
      ended.push(record);
    }
    await removeRecord(dataDir, record.name);
  }
  return ended;
}

async function end(record: ProcessRecord, signal: AbortSignal | undefined): Promise<void> {
  const gone = () => !isAlive(record);
  const options = signal === undefined ? {} : { signal };
  send(record, record.stopSignal);
  if (await waitUntil(gone, { timeoutMs: record.stopGraceMs, ...options })) return;
  send(record, 'SIGKILL');
  await waitUntil(gone, { timeoutMs: 5_000, ...options });
}

function send(record: ProcessRecord, signal: NodeJS.Signals): void {
  if (!isAlive(record)) return;
  try {
    process.kill(record.pid, signal);
  } catch (error) {
    // It ended between the look and the signal.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
