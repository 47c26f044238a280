import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { waitUntil } from '@inference-server/local-services';
import type { Random } from '../random.js';
import type { AppProcess } from '../world/app-process.js';
import { failCalls } from '../world/failing-calls.js';
import { freeBytes, fullDisk, isFull } from '../world/full-disk.js';
import { linesSince } from '../world/log-since.js';
import type { Fault, Scene } from './fault.js';
import { atOrAny, engineOf } from './victims.js';

const forMs = 8_000;
/** How much longer for somebody to meet it. */
const untilMetMs = 12_000;
/** What a log says of a disk that is full: a system error, an engine's words, our own answer. */
const noRoom = /ENOSPC|no space left on device|STORAGE_FULL|"status":507/i;

interface Disk {
  name: string;
  folder: string;
  /** Whose logs tell when a write was refused. */
  users: readonly string[];
}

/**
 * Disks without a byte left, and disks that do not keep what they were given. (A consumer's work folder
 * has no fault of the second kind: nothing in it is ever flushed, for nothing of it outlives its process.)
 */
export const diskFaults: readonly Fault[] = [
  {
    name: 'the disk of the blob store is full',
    phases: ['post', 'run', 'collect'],
    strike: (scene) =>
      fill(scene, [
        {
          name: 'blob store',
          folder: scene.world.storageFolder,
          users: namesOf(scene.world.privateApis),
        },
      ]),
  },
  {
    name: 'the disk of an engine is full',
    phases: ['claim', 'stage', 'run', 'collect'],
    async strike(scene) {
      const { name, folder, serves } = engineOf(scene);
      scene.excuseUntoldMemory(serves);
      await fill(scene, [{ name, folder, users: [name, ...serves] }]);
    },
  },
  {
    name: 'the work folder of a consumer is full',
    phases: ['ticket', 'claim'],
    async strike(scene) {
      const { world, at } = scene;
      // Nobody knows yet which consumer is to have the task where another process stands still.
      const harmed = world.consumers.includes(at) ? [at] : world.consumers;
      await fill(
        scene,
        harmed.map(({ name, workFolder }) => ({ name, folder: workFolder, users: [name] })),
      );
    },
  },
  {
    name: 'the blob store cannot be flushed by one',
    phases: ['post', 'run', 'collect'],
    async strike(scene) {
      await failFlushes(scene, [atOrAny(scene, 'private-api')]);
    },
  },
  {
    name: 'the blob store cannot be flushed',
    phases: ['post', 'run', 'collect'],
    async strike(scene) {
      const { from, until } = await failFlushes(scene, scene.world.privateApis);
      scene.noFlush(from, until);
    },
  },
  {
    name: 'the disk of an engine cannot be flushed',
    phases: ['claim', 'stage', 'run'],
    async strike(scene) {
      const { name, pid, folder, serves } = engineOf(scene);
      scene.excuseUntoldMemory(serves);
      const pidFile = join(folder, 'docker', 'exec', 'containerd', 'containerd.pid');
      const containerd = Number.parseInt(await readFile(pidFile, 'utf8'), 10);
      await failFlushes(scene, [
        { name, pid },
        { name: `containerd of ${name}`, pid: containerd },
      ]);
    },
  },
  {
    name: 'files that nobody knows lie in the blob store',
    phases: ['run'],
    async strike({ world, random, goOn, proof, undoing }) {
      const id = uuid(random);
      const stray = [
        join(world.storageFolder, 'blobs', id.slice(0, 2), id),
        join(world.storageFolder, 'staging', `${uuid(random)}.part`),
      ];
      for (const file of stray) {
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, random.bytes(1_000));
      }
      undoing();
      goOn();
      // The sweep has to find them, as late as at rest: they are too young now.
      for (const file of stray) proof('a stray file', { file, bytes: (await stat(file)).size });
    },
  },
];

function namesOf(processes: readonly AppProcess[]): string[] {
  return processes.map(({ name }) => name);
}

function uuid(random: Random): string {
  const digits = random.bytes(16).toString('hex');
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** What others free meanwhile is taken too. */
async function fill(scene: Scene, harmed: readonly Disk[]): Promise<void> {
  const { world, evidence, goOn, pause, proof, undoing } = scene;
  const users = harmed.flatMap((disk) => disk.users);
  const refused = await linesSince(world.folder, users, noRoom);
  const disks = harmed.map(({ name, folder }) => ({
    name,
    folder,
    disk: fullDisk(folder),
    more: 0,
  }));
  try {
    for (const { name, folder, disk } of disks) {
      const bytes = await disk.takeAll();
      if (bytes === 0) throw new Error(`Nothing of ${folder} could be taken.`);
      const free = { freeBytes: await freeBytes(folder), isFull: await isFull(folder) };
      evidence('full', { disk: name, file: disk.file, bytes, ...free });
    }
    goOn();
    const began = performance.now();
    for (;;) {
      await pause(200);
      for (const one of disks) one.more += await one.disk.takeAll();
      const lasted = performance.now() - began;
      if (lasted < forMs) continue;
      if (lasted >= forMs + untilMetMs || (await refused()).length > 0) break;
    }
    for (const { name, more } of disks) {
      evidence('taken of what others had freed', { disk: name, bytes: more });
    }
    const lines = await refused();
    if (lines.length > 0) proof('refused', { times: lines.length, first: lines.slice(0, 3) });
  } finally {
    undoing();
    for (const { disk } of disks) await disk.free();
  }
}

/** Answers from when until when (Unix, ms) none of them could flush anything. */
async function failFlushes(
  { world, evidence, goOn, pause, proof, undoing }: Scene,
  harmed: readonly { name: string; pid: number | undefined }[],
): Promise<{ from: number; until: number }> {
  const processes = harmed.map(({ name, pid }) => ({ name, pid }));
  const pids = processes.flatMap(({ pid }) => pid ?? []);
  const logFile = join(world.folder, `flushes-${Date.now()}.strace`);
  const failing = await failCalls(pids, ['fsync', 'fdatasync'], logFile);
  const from = Date.now();
  let until: number;
  try {
    evidence('fsync and fdatasync fail', { processes });
    goOn();
    await pause(forMs);
    const isMet = async () => (await failing.hits()).length > 0;
    await waitUntil(isMet, { timeoutMs: untilMetMs, everyMs: 200 });
  } finally {
    goOn();
    undoing();
    until = Date.now();
    await failing.end();
  }
  const hits = await failing.hits();
  if (hits.length > 0) proof('flushes failed', { times: hits.length, first: hits.slice(0, 3) });
  return { from, until };
}
