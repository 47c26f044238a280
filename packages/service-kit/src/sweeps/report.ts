import { nothing, type Amount, type Sweep } from './sweep.js';

/**
 * Says what every sweep would take now, as a table for a person. Changes nothing. When one fails, or
 * the signal aborts, what was found so far is said first.
 */
export async function reportSweeps(
  sweeps: readonly Sweep[],
  say: (table: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const found: [Sweep, Amount][] = [];
  try {
    for (const sweep of sweeps) {
      signal.throwIfAborted();
      found.push([sweep, await sweep.look(signal)]);
    }
  } finally {
    say(tableOf(found));
  }
}

/** Sweeps everything once, to its end, and says what was taken; so far, as above. */
export async function runSweeps(
  sweeps: readonly Sweep[],
  say: (table: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const taken: [Sweep, Amount][] = [];
  try {
    for (const sweep of sweeps) {
      const amount = { ...nothing };
      taken.push([sweep, amount]);
      for (let more = true; more;) {
        signal.throwIfAborted();
        const batch = await sweep.take(signal);
        amount.count += batch.count;
        amount.bytes += batch.bytes;
        more = batch.more;
      }
    }
  } finally {
    say(tableOf(taken));
  }
}

function tableOf(amounts: readonly (readonly [Sweep, Amount])[]): string {
  const rows = [
    ['sweep', 'number', 'bytes', ''],
    ...amounts.map(([{ name, what }, { count, bytes }]) => [
      name,
      String(count),
      String(bytes),
      what,
    ]),
  ];
  const widths = [0, 1, 2].map((at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  return rows
    .map(([name = '', count = '', bytes = '', what = '']) =>
      [
        name.padEnd(widths[0] ?? 0),
        count.padStart(widths[1] ?? 0),
        bytes.padStart(widths[2] ?? 0),
        what,
      ]
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}
