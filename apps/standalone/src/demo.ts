import { buffer } from 'node:stream/consumers';
import { buildImage as buildCopy } from '@inference-server/example-copy/build-image.mjs';
import { buildImage as buildIris } from '@inference-server/example-iris/build-image.mjs';
import { contract, inputs, modelZip as irisZip } from '@inference-server/example-iris/demo.mjs';
import { buildImage as buildThreshold } from '@inference-server/example-threshold-volume/build-image.mjs';
import {
  describeResult,
  modelZip,
  taskZip,
} from '@inference-server/example-threshold-volume/demo.mjs';
import { AppError } from '@inference-server/errors';
import { createClient, type Client, type ModelRegistration } from '@inference-server/sdk';
import { isLoopbackAddress, joinSignals } from '@inference-server/service-kit';
import { addressesOf } from './addresses.js';
import type { Given, Services } from './services.js';
import { showDoors } from './show-doors.js';

const timeoutMs = 5 * 60_000;

/**
 * Shows that the server works: registers the example models, runs one task of theirs from post to result, and
 * asks one that stays up through every door, as any client would.
 */
export async function runDemo({ dockerHost }: Services, given: Given): Promise<void> {
  const { config, folder, print } = given;
  const { signal } = joinSignals(given.signal, AbortSignal.timeout(timeoutMs));
  const { publicApi, privateApi } = addressesOf(config);
  const operator = createClient({ baseUrl: privateApi, token: folder.token });
  // Where callers need keys, the demo has none.
  const isOpen = isLoopbackAddress(config.host) && config.anonymousRole !== 'none';
  const caller = isOpen ? createClient({ baseUrl: publicApi }) : operator;

  print('\nThe demo: a CT volume, cut into regions by density (examples/threshold-volume)');
  await register(operator, signal, {
    human_readable_id: 'copy',
    container_tag: await buildCopy({ dockerHost, signal }),
    description: 'Copies its input to its output.',
  });
  await register(operator, signal, {
    human_readable_id: 'threshold-volume',
    container_tag: await buildThreshold({ dockerHost, signal }),
    description: 'Finds the regions of a CT volume by their density.',
    zip: modelZip(),
  });

  const began = performance.now();
  const uid = await caller.postTask(
    { human_readable_id: 'threshold-volume', zip: taskZip() },
    { signal },
  );
  print(`  task ${uid}`);
  const { zip } = await caller.waitForTask(uid, { signal });
  const result = await buffer(zip);
  print(`  finished after ${((performance.now() - began) / 1000).toFixed(1)} s\n`);
  print(describeResult(result));

  print('\nA model that stays up: the species of three irises (examples/iris)');
  await register(operator, signal, {
    human_readable_id: 'iris',
    container_tag: await buildIris({ dockerHost, signal }),
    description: 'Tells the species of an iris by the length and width of its sepals and petals.',
    kind: 'runtime',
    contract: JSON.parse(contract) as NonNullable<ModelRegistration['contract']>,
    zip: irisZip(),
  });
  await ask('the first call starts its container');
  await ask('the next');
  await showDoors(given, signal);

  async function ask(which: string): Promise<void> {
    const asked = performance.now();
    const { species } = await caller.predict('iris', inputs, { signal });
    const took = (performance.now() - asked).toFixed(0);
    print(`  ${JSON.stringify(species)} after ${took} ms, ${which}`);
  }
}

/** At the second start the models are there already. */
async function register(client: Client, signal: AbortSignal, model: ModelRegistration) {
  try {
    await client.postModel(model, { signal });
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'MODEL_EXISTS') throw error;
  }
}
