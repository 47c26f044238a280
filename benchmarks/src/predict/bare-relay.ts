import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Scene } from '../scene.js';

/** A process that passes bytes on to `address` and reads nothing of them; where it listens. Ends with the scene. */
export async function startBareRelay(
  { environment, signal, onEnd }: Scene,
  address: string,
): Promise<string> {
  const child = fork(fileURLToPath(new URL('relay-process.js', import.meta.url)), {
    env: { ...environment },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const ended = once(child, 'exit');
  onEnd(async () => {
    if (child.connected) child.disconnect();
    await ended;
  });
  const { hostname: host, port } = new URL(`http://${address}`);
  child.send({ host, port: Number(port) });
  const [listening] = (await once(child, 'message', { signal })) as [number];
  return `127.0.0.1:${listening}`;
}
