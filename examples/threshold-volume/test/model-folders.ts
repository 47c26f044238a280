import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { processVolumes, type VolumeStatistics } from '../src/process-volumes.js';

export type Files = Record<string, Buffer | string>;

export interface ModelFolders {
  inputFolder: string;
  modelFolder: string;
  outputFolder: string;
}

/** Input, model and output folder as a container has them; removed when the test has finished. */
export async function modelFolders(input: Files, model: Files): Promise<ModelFolders> {
  const root = await mkdtemp(join(tmpdir(), 'threshold-volume-'));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  const folders = {
    inputFolder: join(root, 'input'),
    modelFolder: join(root, 'model'),
    outputFolder: join(root, 'output'),
  };
  await writeFiles(folders.inputFolder, input);
  await writeFiles(folders.modelFolder, model);
  await writeFiles(folders.outputFolder, {});
  return folders;
}

/** Runs the whole model; the output folder comes back with what it returned. */
export async function runModel(
  input: Files,
  regions: unknown[],
): Promise<{ outputFolder: string; volumes: VolumeStatistics[]; lines: string[] }> {
  const folders = await modelFolders(input, { 'thresholds.json': JSON.stringify({ regions }) });
  const lines: string[] = [];
  const volumes = await processVolumes({ ...folders, log: (line) => lines.push(line) });
  return { outputFolder: folders.outputFolder, volumes, lines };
}

async function writeFiles(folder: string, files: Files): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
}
