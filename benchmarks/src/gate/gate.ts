import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ZipVerdict } from '@inference-server/archive';
import { findFreePort } from '@inference-server/local-services';
import { writeDeflatedZip, writeStoredZip } from '../large-zip.js';
import type { Figure, Measurement } from '../report.js';
import { residentMib } from '../resident-memory.js';
import type { Scene } from '../scene.js';
import { median } from '../statistics.js';
import { writeManyFilesZip } from './many-files-zip.js';
import { measureOtherRequests } from './other-requests.js';

const mib = 1024 ** 2;
const maxSlowdown = 1.3;
const maxGrowthMib = 64;

/**
 * The gate beside `unzip -t` of the same file, in turns: how long, and how much more memory than at
 * rest a process with nothing else in it needs. Then how long other requests take while the server
 * checks a large zip.
 */
export async function measureGate(scene: Scene, quick: boolean): Promise<Measurement> {
  const { folder, signal } = scene;
  const settings = { zipMib: quick ? 64 : 1024, files: 45_000, rounds: quick ? 1 : 5 };
  const bytes = settings.zipMib * mib;
  const paths = {
    stored: join(folder, 'stored.zip'),
    deflated: join(folder, 'deflated.zip'),
    'many files': join(folder, 'many-files.zip'),
  };
  await writeStoredZip(paths.stored, { bytes, signal });
  await writeDeflatedZip(paths.deflated, { bytes, signal });
  await writeManyFilesZip(paths['many files'], { files: settings.files, signal });

  const figures: Figure[] = [];
  const samples: Record<string, number[]> = {};
  for (const [kind, path] of Object.entries(paths)) {
    const ours: number[] = [];
    const theirs: number[] = [];
    // A fresh one: memory that a process has taken it seldom gives back.
    const gate = await startGate(scene);
    const restMib = residentMib(gate.pid);
    const growth = watchGrowth(gate.pid);
    for (let round = 0; round < settings.rounds; round += 1) {
      ours.push(await gate.check(path));
      theirs.push(await testWithUnzip(path, scene));
    }
    const growthMib = growth.stop() - restMib;
    Object.assign(samples, { [`${kind}: gate`]: ours, [`${kind}: unzip -t`]: theirs });
    figures.push(
      { what: `${kind}: the gate`, value: median(ours), unit: 'ms' },
      { what: `${kind}: unzip -t`, value: median(theirs), unit: 'ms' },
      {
        what: `${kind}: the gate / unzip -t`,
        value: median(ours) / median(theirs),
        unit: '×',
        ...(kind !== 'many files' && { goal: { atMost: maxSlowdown } }),
      },
      {
        what: `${kind}: most memory above rest`,
        value: growthMib,
        unit: 'MiB',
        goal: { atMost: maxGrowthMib },
      },
    );
  }
  const others = await measureOtherRequests(scene, paths.deflated, {
    rounds: quick ? 1 : 5,
    idleS: quick ? 2 : 10,
  });
  return {
    name: 'gate',
    settings,
    figures: [...figures, ...others.figures],
    samples: { ...samples, ...others.samples },
  };
}

/** The gate in a process of its own, which has checked something already. */
async function startGate(
  scene: Scene,
): Promise<{ pid: number; check: (path: string) => Promise<number> }> {
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}/`;
  const file = fileURLToPath(new URL('gate-server.js', import.meta.url));
  const answers = async () =>
    fetch(url, { signal: AbortSignal.timeout(2_000) }).then(
      ({ ok }) => ok,
      () => false,
    );
  const { pid } = await scene.start(
    { name: 'gate-server', args: [file], settings: { PORT: String(port) } },
    answers,
  );
  const check = async (path: string): Promise<number> => {
    const answer = await fetch(`${url}?${new URLSearchParams({ path }).toString()}`, {
      signal: scene.signal,
    });
    const { ms, verdict } = (await answer.json()) as { ms: number; verdict: ZipVerdict };
    if (!('summary' in verdict)) throw new Error(`refused: ${JSON.stringify(verdict.finding)}`);
    return ms;
  };
  const small = join(scene.folder, 'first.zip');
  await writeStoredZip(small, { bytes: 1024, signal: scene.signal });
  await check(small);
  return { pid, check };
}

async function testWithUnzip(path: string, { environment, signal }: Scene): Promise<number> {
  const began = performance.now();
  await promisify(execFile)('unzip', ['-qt', path], { env: environment, signal, timeout: 300_000 });
  return performance.now() - began;
}

function watchGrowth(pid: number): { stop: () => number } {
  let most = residentMib(pid);
  const timer = setInterval(() => {
    most = Math.max(most, residentMib(pid));
  }, 20);
  return {
    stop: () => {
      clearInterval(timer);
      return most;
    },
  };
}
