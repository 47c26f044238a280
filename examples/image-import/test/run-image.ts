import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { Readable } from 'node:stream';
import { extract, pack } from 'tar-stream';
import {
  createDockerEngine,
  modelContainer,
  stagingContainer,
  type ContainerEngine,
} from '@inference-server/container-engine';
import type { TestEngine } from '@inference-server/testing';

const mib = 1024 ** 2;

/** Contents by path; a path that ends in a slash is a folder. */
export type Files = Record<string, string | Buffer>;

export interface OutputFile {
  mode: number;
  content: Buffer;
}

/**
 * Runs an image as a job consumer does, in the sandbox, and removes everything again: what the model
 * wrote on /output (folders with a slash at the end), its log and its exit code.
 */
export async function runImage(
  { dockerHost, image: shell, installationId }: TestEngine,
  { image, input, model }: { image: string; input: Files; model?: Files },
): Promise<{ exitCode: number; log: string; output: Map<string, OutputFile> }> {
  const signal = AbortSignal.timeout(25_000);
  const engine = createDockerEngine({ dockerHost });
  const name = `example-${randomBytes(6).toString('hex')}`;
  const labels = { 'inference-server.installation': installationId };
  const volumes = { input: `${name}-input`, output: `${name}-output`, model: `${name}-model` };
  try {
    for (const volume of Object.values(volumes)) {
      await engine.createVolume({ name: volume, labels }, signal);
    }
    const stage = await engine.createContainer(
      stagingContainer({
        name: `${name}-stage`,
        image: shell,
        labels,
        mounts: Object.entries(volumes).map(([path, volume]) => ({
          volume,
          path: `/${path}`,
          readOnly: false,
        })),
      }),
      signal,
    );
    await engine.putArchive(stage, '/', stagingTar({ input, model: model ?? {} }), signal);
    await engine.removeContainer(stage, signal);

    const limits = {
      memoryBytes: 256 * mib,
      cpus: 1,
      processes: 64,
      shmBytes: 16 * mib,
      logBytes: mib,
      fileBytes: 1024 ** 3,
    };
    const container = await engine.createContainer(
      modelContainer({ name, image, labels, volumes, limits, gpus: [] }),
      signal,
    );
    const started = await engine.startContainer(container, signal);
    if (!started.started) throw new Error(started.startError);
    const { exitCode } = await engine.waitForExit(container, signal);
    const { text } = await engine.readLogs(container, { maxBytes: mib, maxLines: 100 }, signal);
    const output = await filesOf(await engine.getArchive(container, '/output', signal));
    return { exitCode, log: text, output };
  } finally {
    await removeAll(engine, [name, `${name}-stage`], Object.values(volumes));
  }
}

/** /output can be written by anyone, since an image may run as any user. */
function stagingTar(folders: Record<'input' | 'model', Files>): Readable {
  const tar = pack();
  tar.entry({ name: 'output', type: 'directory', mode: 0o777 });
  for (const [folder, files] of Object.entries(folders)) {
    for (const [path, content] of Object.entries(files)) {
      const name = `${folder}/${path}`;
      if (path.endsWith('/')) tar.entry({ name, type: 'directory', mode: 0o755 });
      else tar.entry({ name, mode: path.endsWith('.sh') ? 0o755 : 0o644 }, content);
    }
  }
  tar.finalize();
  return Readable.from(tar);
}

async function filesOf(tar: Readable): Promise<Map<string, OutputFile>> {
  const files = new Map<string, OutputFile>();
  for await (const entry of tar.pipe(extract())) {
    const { name, mode } = entry.header;
    const content = await buffer(entry);
    if (name !== 'output/')
      files.set(name.replace(/^output\//, ''), { mode: mode & 0o777, content });
  }
  return files;
}

async function removeAll(
  engine: ContainerEngine,
  containers: string[],
  volumes: string[],
): Promise<void> {
  const signal = AbortSignal.timeout(20_000);
  for (const container of containers) await engine.removeContainer(container, signal);
  for (const volume of volumes) await engine.removeVolume(volume, signal);
}
