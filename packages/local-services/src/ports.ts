import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { systemCode } from '@inference-server/errors';

/** Above the ports that well-known services listen on. */
const FIRST_PORT = 10_000;

const LAST_PORT = 65_535;

/** Of Linux, where its administrator has said nothing else (ip_local_port_range). */
const FIRST_OUTGOING_PORT = 32_768;

/**
 * A TCP port of 127.0.0.1 that nobody listened on a moment ago, and that the system gives no
 * outgoing connection: who stops listening on it can do so again later, whatever was connected
 * to in between. Where the system gives those nearly all ports, it may be any.
 */
export async function findFreePort(): Promise<number> {
  const firstOutgoing = await firstOutgoingPort();
  const end = firstOutgoing > 2 * FIRST_PORT ? firstOutgoing : LAST_PORT + 1;
  for (;;) {
    const port = randomInt(FIRST_PORT, end);
    if (!(await isPortTaken(port, '127.0.0.1'))) return port;
  }
}

async function firstOutgoingPort() {
  try {
    const range = await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8');
    return Number.parseInt(range, 10);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    return FIRST_OUTGOING_PORT;
  }
}

/** Whether listening on `host`:`port` is refused because somebody else does. */
export async function isPortTaken(port: number, host: string): Promise<boolean> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(port, host, resolve);
    });
  } catch (error) {
    if (systemCode(error) === 'EADDRINUSE') return true;
    throw error;
  }
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return false;
}
