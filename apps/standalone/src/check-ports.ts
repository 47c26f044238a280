import { AppError } from '@inference-server/errors';
import { isPortTaken } from '@inference-server/local-services';
import type { StandaloneConfig } from './config.js';

/** Throws CONFLICT, naming port and variable, when another program listens on one of our ports. */
export async function checkPorts({
  host,
  publicApiPort,
  privateApiPort,
}: StandaloneConfig): Promise<void> {
  const ports = { PUBLIC_API_PORT: publicApiPort, PRIVATE_API_PORT: privateApiPort };
  const problems: string[] = [];
  for (const [variable, port] of Object.entries(ports)) {
    if (await isPortTaken(port, host)) {
      problems.push(
        `Port ${port} of ${host} is taken by another program: stop that one, or set ${variable} to another port.`,
      );
    }
  }
  if (problems.length > 0) throw new AppError('CONFLICT', problems.join('\n'));
}
