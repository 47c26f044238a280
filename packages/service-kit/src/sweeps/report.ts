import type { Amount, Sweep } from './sweep.js';

/** What every sweep would take now, as a table for a person. Changes nothing. */
export async function reportSweeps(sweeps: readonly Sweep[], signal: AbortSignal): Promise<string> {
  const found: [Sweep, Amount][] = [];
  for (const sweep of sweeps) found.push([sweep, await sweep.look(signal)]);
  return tableOf(found);
}

/** Every sweep once, to its end, and what each has taken. */
export async function runSweeps(sweeps: readonly Sweep[], signal: AbortSignal): Promise<string> {
  const taken: [Sweep, Amount][] = [];
  for (const sweep of sweeps) {
    let [count, bytes] = [0, 0];
    for (let more = true; more;) {
      const batch = await sweep.take(signal);
      [count, bytes, more] = [count + batch.count, bytes + batch.bytes, batch.more];
    }
    taken.push([sweep, { count, bytes }]);
  }
  return tableOf(taken);
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
