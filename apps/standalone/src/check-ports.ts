import { AppError } from '@inference-server/errors';
import { isPortTaken } from '@inference-server/local-services';
import { privateHost } from './addresses.js';
import type { StandaloneConfig } from './config.js';

/** Throws CONFLICT, naming port and variable, when another program listens on one of our ports. */
export async function checkPorts({
  host,
  publicApiPort,
  privateApiPort,
  grpcPort,
  zerorpc,
}: StandaloneConfig): Promise<void> {
  const ports = [
    { variable: 'PUBLIC_API_PORT', port: publicApiPort, on: host },
    { variable: 'PRIVATE_API_PORT', port: privateApiPort, on: privateHost },
    { variable: 'GRPC_PORT', port: grpcPort, on: host },
    { variable: 'ZERORPC_PORT', port: zerorpc.port, on: zerorpc.host },
  ];
  const problems: string[] = [];
  for (const { variable, port, on } of ports) {
    if (await isPortTaken(port, on)) {
      problems.push(
        `Port ${port} of ${on} is taken by another program: stop that one, or set ${variable} to another port.`,
      );
    }
  }
  if (problems.length > 0) throw new AppError('CONFLICT', problems.join('\n'));
}
