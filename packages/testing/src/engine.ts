import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { whenFileEnds } from './clean-up.js';
import { createEngineApi, type EngineApi } from './engine-api.js';
import { askFixtureHost, askWhetherStarted } from './fixture-host.js';

export interface TestEngine {
  readonly dockerHost: string;
  /** An image with a shell. */
  readonly image: string;
  /** For the installation label of whatever the test makes. */
  readonly installationId: string;
  readonly api: EngineApi;
}

/**
 * The run's docker engine, and an installation id of the caller's own in it. When the file ends,
 * nothing that carries the id as the value of a label may be left.
 */
export async function testEngine(): Promise<TestEngine> {
  const { dockerHost, image } = await askFixtureHost(inject('fixtureHost'), 'engine');
  const api = createEngineApi(dockerHost);
  const installationId = `test${randomBytes(8).toString('hex')}`;
  whenFileEnds('test engine', () => expectNothingOf(installationId, api));
  return { dockerHost, image, installationId, api };
}

/** Throws when the run's engine, if there is one, holds something of the installation. */
export async function expectEngineWithout(installationId: string): Promise<void> {
  const engine = await askWhetherStarted(inject('fixtureHost'), 'engine');
  if (engine !== null) await expectNothingOf(installationId, createEngineApi(engine.dockerHost));
}

async function expectNothingOf(installationId: string, api: EngineApi): Promise<void> {
  const left = (await api.listObjects()).filter(({ labels }) =>
    Object.values(labels).includes(installationId),
  );
  if (left.length === 0) return;
  const names = left.map(({ kind, name }) => `${kind} ${name}`).join(', ');
  throw new Error(`Left in the engine: ${names}`);
}
