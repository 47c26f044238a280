import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { openAttemptScene, type AttemptScene } from './attempt-scene.js';
import { makeScriptImage } from './images.js';
import { expectations } from './sandbox-expectations.js';
import { readZip, zipOf } from './zips.js';

// The container is that of an attempt: made by the consumer's own code, run by a real engine.
let scene: AttemptScene;
const never = new AbortController().signal;
let seen: Record<string, string | null>;

beforeAll(async () => {
  scene = await openAttemptScene();
  const looks = expectations.map(
    ({ look }, at) => `(\n${look}\n) > /output/${at} 2>&1 </dev/null || true`,
  );
  seen = await outputsOf(looks.join('\n'));
});

afterAll(async () => {
  const { engine, names } = scene.bench;
  // A model's files stay in the engine, for other tasks.
  for (const { name } of await engine.listVolumes(names.installation, never)) {
    await engine.removeVolume(name, never);
  }
  await scene.close();
});

describe('a model’s container, seen from inside', () => {
  it.each(expectations.map((expectation, at) => ({ ...expectation, at })))(
    '$name',
    ({ at, sees }) => {
      const text = (seen[`${at}`] ?? 'it did not look').replace(/\n$/, '');
      expect(text === '' ? [] : text.split('\n')).toEqual(sees);
    },
  );

  it('runs as the user of another image, in no other group', async () => {
    const { api, image, installationId } = scene.own;
    const changes = ['USER 1000:1000', 'ENV NVIDIA_VISIBLE_DEVICES=all'];
    const other = await makeScriptImage(api, image, `sandbox-test:${installationId}`, changes);
    const look =
      '(id -u; id -g; grep "^Groups:" /proc/self/status; echo $NVIDIA_VISIBLE_DEVICES) > /output/who';
    const { who } = await outputsOf(look, other);
    expect(who).toBe('1000\n1000\nGroups:\t1000 \nvoid\n');
  });
});

it('stands in docs/sandbox.md, each expectation with its test', async () => {
  const page = await readFile(join(inject('repository'), 'docs', 'sandbox.md'), 'utf8');
  const named = [...page.matchAll(/^\|.*\| `([^`]+)` *\|$/gm)].map(([, name]) => name);
  for (const { name } of expectations) expect(named).toContain(name);
});

/** What the run of a script with a model's file has left in /output. */
async function outputsOf(script: string, image?: string): Promise<Record<string, string | null>> {
  const task = scene.taskOf(zipOf({ 'run.sh': script }), {
    ...(image !== undefined && { image }),
    modelFiles: zipOf({ weights: 'weights' }),
  });
  const running = await scene.bench.start(task);
  const result = await task.settled;
  await running.cleaned;
  expect(result).toMatchObject({ kind: 'finished' });
  return readZip(task.outputs[0] ?? Buffer.alloc(0));
}
