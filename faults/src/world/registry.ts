import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startProcess, untilServing, type LocalService } from '@inference-server/local-services';
import { askEngine } from './engine-call.js';

export interface RegistryOptions {
  /** Holds `registry/` with the images, and the record of the process. */
  dataDir: string;
  logFile: string;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
  port: number;
}

/** The system's docker-registry on 127.0.0.1, where engines ask for no certificate and no password. */
export async function startRegistry(options: RegistryOptions): Promise<LocalService> {
  const { dataDir, logFile, environment, signal, port } = options;
  const folder = join(dataDir, 'registry');
  const configFile = join(folder, 'config.yml');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // JSON is YAML too.
  const config = {
    version: '0.1',
    log: { level: 'info' },
    storage: { filesystem: { rootdirectory: join(folder, 'images') } },
    http: { addr: `127.0.0.1:${port}`, secret: 'of an upload that goes on after a restart' },
  };
  await writeFile(configFile, JSON.stringify(config), { mode: 0o600 });
  const child = await startProcess({
    name: 'registry',
    command: 'docker-registry',
    args: ['serve', configFile],
    environment,
    dataDir,
    logFile,
    port,
  });
  await untilServing(child, () => answers(port), { timeoutMs: 60_000, signal });
  return {
    name: child.name,
    pid: child.pid,
    url: `http://127.0.0.1:${port}`,
    ended: child.ended,
    stop: async () => void (await child.stop()),
  };
}

/** Gives an image of the engine to the registry, under the name that has its address, and to it alone. */
export async function moveToRegistry(
  socketPath: string,
  image: string,
  reference: string,
): Promise<void> {
  const colon = reference.lastIndexOf(':');
  const [repo, tag] = [reference.slice(0, colon), reference.slice(colon + 1)];
  const under = new URLSearchParams({ repo, tag }).toString();
  await askEngine(socketPath, 'POST', `/images/${image}/tag?${under}`);
  const nobody = { 'x-registry-auth': Buffer.from('{}').toString('base64') };
  const told = await askEngine(socketPath, 'POST', `/images/${repo}/push?tag=${tag}`, nobody);
  // The answer's status is 200 before the push has begun.
  if (told.includes('"error"')) throw new Error(`${reference} could not be pushed: ${told}`);
  for (const name of [image, reference]) {
    await askEngine(socketPath, 'DELETE', `/images/${name}?force=1`);
  }
}

async function answers(port: number): Promise<boolean> {
  try {
    const url = `http://127.0.0.1:${port}/v2/`;
    const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}
