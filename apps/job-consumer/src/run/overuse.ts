import type { ContainerStorage } from '@inference-server/container-engine';
import type { AttemptRun } from './attempt-run.js';

type Overuse = { reason: 'bad_output' | 'out_of_disk'; detail: string };

/**
 * Resolves once the container has written more to the engine's disk than it may, with what is wrong.
 * One that cannot be measured several times in a row counts as such: with a path that is too long for
 * the engine a container could hide from it.
 */
export async function overuseOf(
  { settings, storageWatch }: AttemptRun,
  container: string,
  signal: AbortSignal,
): Promise<Overuse> {
  const { maxOutputBytes, maxScratchBytes } = settings;
  let unmeasured = 0;
  const judge = (storage: ContainerStorage): Overuse | undefined => {
    const output = outputBytes(storage);
    const scratch = scratchBytes(storage);
    unmeasured = output === undefined || scratch === undefined ? unmeasured + 1 : 0;
    if (output === undefined ? unmeasured >= maxUnmeasured : output > maxOutputBytes) {
      const what = output === undefined ? 'paths too long to be measured' : 'too many bytes';
      return { reason: 'bad_output', detail: stopped(`/output held ${what}`, maxOutputBytes) };
    }
    if (scratch === undefined ? unmeasured >= maxUnmeasured : scratch > maxScratchBytes) {
      const what = scratch === undefined ? 'paths too long to be measured' : 'too many bytes';
      return {
        reason: 'out_of_disk',
        detail: stopped(`it wrote ${what} outside /output`, maxScratchBytes),
      };
    }
    return undefined;
  };
  return storageWatch.untilFound(container, judge, signal);
}

/** The same of a container without an /output: resolves with what is wrong. */
export async function scratchOveruseOf(
  {
    settings,
    storageWatch,
  }: Pick<AttemptRun, 'storageWatch'> & {
    settings: Pick<AttemptRun['settings'], 'maxScratchBytes'>;
  },
  container: string,
  signal: AbortSignal,
): Promise<string> {
  const { maxScratchBytes } = settings;
  let unmeasured = 0;
  const judge = (storage: ContainerStorage): string | undefined => {
    const scratch = scratchBytes(storage);
    unmeasured = scratch === undefined ? unmeasured + 1 : 0;
    if (scratch === undefined ? unmeasured < maxUnmeasured : scratch <= maxScratchBytes) {
      return undefined;
    }
    const what = scratch === undefined ? 'paths too long to be measured' : 'too many bytes';
    return `The replica was stopped: it wrote ${what} (allowed: ${maxScratchBytes}).`;
  };
  return storageWatch.untilFound(container, judge, signal);
}

const maxUnmeasured = 3;

function stopped(why: string, allowed: number): string {
  return `The run was stopped: ${why} (allowed: ${allowed}).`;
}

function outputBytes({ volumes }: ContainerStorage): number | undefined {
  return volumes.find(({ path }) => path === '/output')?.bytes;
}

/** In its layer, and in the volumes that its image declares. */
function scratchBytes({ layerBytes, volumes }: ContainerStorage): number | undefined {
  const others = volumes.filter(({ path }) => path !== '/output').map(({ bytes }) => bytes);
  return [layerBytes, ...others].reduce((total, bytes) => {
    return total === undefined || bytes === undefined ? undefined : total + bytes;
  }, 0);
}
