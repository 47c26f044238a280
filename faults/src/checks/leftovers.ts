import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { createDockerEngine, type Labels, type Volume } from '@inference-server/container-engine';
import type { AppProcess } from '../world/app-process.js';
import { callEngine } from '../world/engine-call.js';
import type { Engine, World } from '../world/world.js';
import { processesOf } from './engine-processes.js';
import { leftTickets } from './ticket-keys.js';

/** Where a server leaves anything. */
export interface Places extends Pick<
  World,
  'query' | 'storageFolder' | 'temporaryFolder' | 'queuePrefix'
> {
  redis: Pick<World['redis'], 'ask'>;
  engines: readonly Pick<Engine, 'name' | 'socketPath' | 'folder'>[];
  consumers: readonly Pick<AppProcess, 'name' | 'workFolder'>[];
}

interface BlobRow {
  id: string;
  state: string;
  bytes: string | null;
}

/**
 * What is there that nobody needs any more, or what is not there and should be: in the engines, on the
 * disks, in the rows. Empty once a server at rest has tidied up.
 */
export async function findLeftovers(places: Places, signal: AbortSignal): Promise<string[]> {
  const found: string[] = [];
  for (const engine of places.engines) {
    found.push(...(await inEngine(engine, signal)), ...(await processesOf(engine)).left);
  }
  found.push(...(await inStorage(places)));
  found.push(...(await inRows(places)));
  found.push(...(await inWorkFolders(places)));
  for (const name of await readdir(places.temporaryFolder)) found.push(`temporary ${name}`);
  for (const key of await leftTickets(places)) found.push(`ticket ${key}`);
  return found;
}

/** The complete files of a model stay for the next task; everything else goes with the end of its task. */
async function inEngine(
  { name, socketPath }: Places['engines'][number],
  signal: AbortSignal,
): Promise<string[]> {
  const engine = createDockerEngine({ dockerHost: `unix://${socketPath}` });
  const containers = await engine.listContainers({}, signal);
  const volumes = await engine.listVolumes({}, signal);
  const markers = volumes.filter((volume) => labelOf(volume, 'kind') === 'model');
  const isNeeded = (volume: Volume): boolean => {
    switch (labelOf(volume, 'kind')) {
      case 'model':
        return volumes.some((data) => data.name === labelOf(volume, 'volume'));
      case 'model-data':
        return markers.some((marker) => labelOf(marker, 'volume') === volume.name);
      case 'model-use':
        return markers.some(
          (marker) => labelOf(marker, 'model-version') === labelOf(volume, 'model-version'),
        );
      default:
        return false;
    }
  };
  const things = [...containers, ...volumes.filter((volume) => !isNeeded(volume))].map(
    (thing) => `${name}: ${thing.name} (${labelOf(thing, 'kind') ?? 'without a label'})`,
  );
  const networks = (await callEngine(socketPath, 'GET', '/networks')) as { Name: string }[];
  const made = networks.filter(({ Name }) => !builtIn.includes(Name));
  return [...things, ...made.map(({ Name }) => `${name}: ${Name} (network)`)];
}

const builtIn = ['bridge', 'host', 'none'];

function labelOf({ labels }: { labels: Labels }, name: string): string | undefined {
  return labels[`inference-server.${name}`];
}

/** Blobs that nothing needs, rows without a file, files without a row, parts of uploads. */
async function inStorage({ storageFolder, query }: Places): Promise<string[]> {
  const found: string[] = [];
  const rows = new Map(
    (await query<BlobRow>('SELECT id, state::text, bytes::text FROM blobs')).map((row) => [
      row.id,
      row,
    ]),
  );
  // An input is needed until its task has ended, an output until that is deleted.
  const orphans = await query<{ id: string }>(
    `SELECT id FROM blobs b
      WHERE NOT EXISTS (SELECT FROM tasks WHERE input_blob_id = b.id AND ended_at IS NULL)
        AND NOT EXISTS (SELECT FROM tasks WHERE output_blob_id = b.id AND deleted_at IS NULL)
        AND NOT EXISTS (SELECT FROM model_versions WHERE files_blob_id = b.id)`,
  );
  for (const { id } of orphans) found.push(`blob ${id}: nothing needs it`);
  const folder = join(storageFolder, 'blobs');
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const file of files.filter((entry) => !entry.isDirectory())) {
    const path = join(file.parentPath, file.name);
    const place = relative(folder, path);
    const isInPlace = place === join(file.name.slice(0, 2), file.name);
    const row = isInPlace ? rows.get(file.name) : undefined;
    // A sweep may be at it.
    const there = await stat(path).catch(() => undefined);
    if (there === undefined) continue;
    const { size } = there;
    if (row !== undefined) rows.delete(file.name);
    if (row === undefined) found.push(`blob ${place}: a file without a row`);
    else if (row.state !== 'stored') found.push(`blob ${row.id}: ${row.state}`);
    else if (row.bytes !== String(size)) {
      found.push(`blob ${row.id}: ${size} of ${row.bytes ?? '?'} bytes`);
    }
  }
  for (const { id, state } of rows.values()) {
    found.push(`blob ${id}: a ${state} row without a file`);
  }
  for (const name of await readdir(join(storageFolder, 'staging'))) found.push(`staging ${name}`);
  return found;
}

async function inRows({ query }: Places): Promise<string[]> {
  const open = await query<{ uid: string; number: number }>(
    'SELECT task_uid AS uid, number FROM attempts WHERE ended_at IS NULL',
  );
  return open.map(({ uid, number }) => `attempt ${number} of ${uid}: it has no end`);
}

async function inWorkFolders({ consumers }: Places): Promise<string[]> {
  const found: string[] = [];
  for (const { name, workFolder } of consumers) {
    const entries = await readdir(workFolder, { recursive: true, withFileTypes: true });
    // One folder of each device stays: the next zip goes into it.
    const isLeft = (entry: Dirent) => !entry.isDirectory() || entry.parentPath !== workFolder;
    for (const entry of entries.filter(isLeft)) found.push(`${name}: ${entry.name}`);
  }
  return found;
}
