import { messageOf } from '@inference-server/errors';
import { announce } from './announce.js';
import { startApps } from './apps.js';
import { checkPorts } from './check-ports.js';
import type { StandaloneConfig } from './config.js';
import { closeDataFolder, openDataFolder } from './data-folder.js';
import { runDemo } from './demo.js';
import { endEarlierStart } from './earlier-start.js';
import { migrate } from './migrate.js';
import { createParts } from './parts.js';
import { startServices } from './services.js';

export interface Surroundings {
  /** Handed on to the services and apps, beside their settings. */
  environment: NodeJS.ProcessEnv;
  /** Aborted with the reason when everything shall stop. */
  signal: AbortSignal;
  /** Writes lines for the person at the terminal. */
  print: (text: string) => void;
}

/**
 * The whole server on this machine, until `signal` aborts or something breaks that it cannot go on
 * without. Whatever was started is stopped again, the last first. Returns the exit code: 0 when it
 * was asked to stop, 1 when it failed.
 */
export async function runStandalone(
  config: StandaloneConfig,
  { environment, signal, print }: Surroundings,
): Promise<number> {
  const broken = new AbortController();
  const ending = AbortSignal.any([signal, broken.signal]);
  const parts = createParts({ print, signal: ending, onBroken: (why) => broken.abort(why) });
  try {
    const folder = await openDataFolder(config);
    parts.add({ name: 'data folder', quiet: true, stop: () => closeDataFolder(folder) });
    await endEarlierStart(folder, { signal: ending, print });
    await checkPorts(config);

    const given = { config, folder, environment, signal: ending, print };
    const services = await startServices(parts, given);
    await migrate(services.databaseUrl, given);
    await startApps(parts, services, given);
    if (config.demo) await runDemo(services, given);
    announce(config, folder, print);
    await aborted(ending);
  } catch (error) {
    if (!ending.aborted) broken.abort(error);
  }
  const asked = !broken.signal.aborted;
  print(
    asked ? `\nStopping (${String(signal.reason)}) …` : `\n${messageOf(broken.signal.reason)}\n`,
  );
  const clean = await parts.stopAll();
  return asked && clean ? 0 : 1;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
