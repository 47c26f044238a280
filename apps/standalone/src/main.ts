import { ConfigError } from '@inference-server/service-kit';
import { readConfig, type StandaloneConfig } from './config.js';
import { runStandalone } from './standalone.js';

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => stopping.abort(signal));
}
// npm start's script runs us with a channel, which ends with it.
process.on('disconnect', () => stopping.abort('its parent has ended'));
// A terminal that is gone must not end us before our children.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

process.exit(
  await runStandalone(configOrExit(), {
    environment: process.env,
    signal: stopping.signal,
    print: (text) => void process.stdout.write(`${text}\n`),
  }),
);

function configOrExit(): StandaloneConfig {
  try {
    return readConfig(process.env, process.argv.slice(2), process.cwd());
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`InferenceServer cannot start:\n${error.message}\n`);
    process.exit(2);
  }
}
