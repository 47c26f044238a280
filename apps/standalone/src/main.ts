import { configOrExit } from '@inference-server/service-kit';
import { handedOn, readConfig } from './config.js';
import { runStandalone } from './standalone.js';

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => stopping.abort(signal));
}
// npm start's script runs us with a channel, which ends with it.
process.on('disconnect', () => stopping.abort('its parent has ended'));
// A terminal that is gone must not end us before our children.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

const config = configOrExit('InferenceServer', () =>
  readConfig(process.env, process.argv.slice(2), process.cwd()),
);
process.exit(
  await runStandalone(config, {
    environment: handedOn(process.env),
    signal: stopping.signal,
    print: (text) => void process.stdout.write(`${text}\n`),
  }),
);
