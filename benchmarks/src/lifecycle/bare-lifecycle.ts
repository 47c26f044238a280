import { Readable } from 'node:stream';
import {
  modelContainer,
  stagingContainer,
  type ContainerEngine,
  type ContainerLimits,
  type Labels,
} from '@inference-server/container-engine';

export interface BareRun {
  /** What everything of the run is called, and must not be in the engine yet. */
  name: string;
  image: string;
  /** The input. */
  tar: Buffer;
  labels: Labels;
  limits: ContainerLimits;
}

/**
 * What the engine has to do for a task, one call after another: how long each step took (ms). What a
 * failure leaves carries the labels.
 */
export async function runBareLifecycle(
  engine: ContainerEngine,
  { name, image, tar, labels, limits }: BareRun,
  signal: AbortSignal,
): Promise<Record<string, number>> {
  const took: Record<string, number> = {};
  const step = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const began = performance.now();
    const result = await work();
    took[what] = performance.now() - began;
    return result;
  };
  const [input, output] = [`${name}-input`, `${name}-output`];
  const folder = '/staging';

  await step('creating volumes', async () => {
    await engine.createVolume({ name: input, labels }, signal);
    await engine.createVolume({ name: output, labels }, signal);
  });
  const helper = await step('creating the helper', () => {
    const mounts = [{ volume: input, path: folder, readOnly: false }];
    const spec = stagingContainer({ name: `${name}-stage`, image, labels, mounts });
    return engine.createContainer(spec, signal);
  });
  await step('putting the input', () =>
    engine.putArchive(helper, folder, Readable.from([tar], { objectMode: false }), signal),
  );
  await step('removing the helper', () => engine.removeContainer(helper, signal));
  const container = await step('creating', () => {
    const volumes = { input, output, model: null };
    const spec = modelContainer({ name, image, labels, volumes, limits, gpus: [] });
    return engine.createContainer(spec, signal);
  });
  const exited = engine.waitForExit(container, signal);
  exited.catch(() => undefined);
  await step('starting', () => engine.startContainer(container, signal));
  const { exitCode } = await step('running', () => exited);
  if (exitCode !== 0) throw new Error(`The bare container ended with exit code ${exitCode}`);
  await step('getting the output', async () => {
    let bytes = 0;
    for await (const chunk of await engine.getArchive(container, '/output', signal)) {
      bytes += (chunk as Buffer).length;
    }
    if (bytes < tar.length) throw new Error(`The output of the bare container has ${bytes} bytes`);
  });
  await step('removing', async () => {
    await engine.removeContainer(container, signal);
    await engine.removeVolume(input, signal);
    await engine.removeVolume(output, signal);
  });
  return took;
}
