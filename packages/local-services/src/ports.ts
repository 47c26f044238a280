import { createServer } from 'node:net';
import { systemCode } from '@inference-server/errors';

/** A TCP port of 127.0.0.1 that nobody listened on a moment ago. */
export async function findFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return typeof address === 'object' && address !== null ? address.port : 0;
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
