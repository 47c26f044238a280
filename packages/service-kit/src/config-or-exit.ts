import { ConfigError } from './config.js';

/** The settings of a process. What is wrong with them is told on standard error and ends it: 2. */
export function configOrExit<Config>(name: string, read: () => Config): Config {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${name} cannot start:\n${error.message}\n`);
    process.exit(2);
  }
}
