import { readOptions, usage } from './options.js';
import { runBenchmarks } from './run-benchmarks.js';

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => stopping.abort(new Error(signal)));
}
// The script of `npm run bench` runs us with a channel, which ends with it.
process.on('disconnect', () => stopping.abort(new Error('its parent has ended')));

const options = readOptions(process.argv.slice(2));
if (options === undefined) {
  process.stderr.write(usage);
  process.exit(2);
}
try {
  await runBenchmarks(options, {
    environment: process.env,
    now: new Date(),
    signal: stopping.signal,
    print: (text) => void process.stdout.write(`${text}\n`),
  });
  process.exit(0);
} catch (error) {
  if (!stopping.signal.aborted) console.error(error);
  process.exit(1);
}
