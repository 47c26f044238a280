import type Docker from 'dockerode';
import type { Labels, Network, NetworkOutcome, NewNetwork } from '../container-engine.js';
import { isEngineProblem } from '../engine-error.js';
import { boundedCall, type EngineConnection } from './connection.js';
import { inspectContainer } from './containers.js';
import { tellsOfTakenSubnet } from './errors.js';
import { labelFilters } from './label-filters.js';

/**
 * A bridge of the engine's host without a way out. An engine that may not filter packets (and older ones in any
 * case) has its containers send all else to the host, which may pass it on: to an address, here, that nobody has.
 * The name of the bridge tells the subnet, so that an operator can speak of all of them in one rule of a packet
 * filter: `isr-+`.
 */
export async function createNetwork(
  { docker, deadlines }: EngineConnection,
  { name, labels, subnet }: NewNetwork,
  signal: AbortSignal,
): Promise<NetworkOutcome> {
  try {
    const made = await boundedCall(`network ${name}`, deadlines.callMs, signal, (abortSignal) =>
      docker.createNetwork({
        Name: name,
        CheckDuplicate: true,
        Driver: 'bridge',
        Internal: true,
        Attachable: false,
        Ingress: false,
        EnableIPv6: false,
        IPAM: { Driver: 'default', Config: [addressesOf(subnet)] },
        Options: { 'com.docker.network.bridge.name': bridgeOf(subnet) },
        Labels: { ...labels },
        abortSignal,
      }),
    );
    return { id: made.id };
  } catch (error) {
    if (isEngineProblem(error, 'name_in_use')) return { taken: 'name' };
    if (tellsOfTakenSubnet(error)) return { taken: 'subnet' };
    throw error;
  }
}

export async function inspectNetwork(
  { docker, deadlines }: EngineConnection,
  network: string,
  signal: AbortSignal,
): Promise<Network | undefined> {
  try {
    const found = await boundedCall(`network ${network}`, deadlines.callMs, signal, (abortSignal) =>
      networkOf(docker, network).inspect({ abortSignal }),
    );
    return toNetwork(found);
  } catch (error) {
    if (isEngineProblem(error, 'network_absent')) return undefined;
    throw error;
  }
}

export async function listNetworks(
  { docker, deadlines }: EngineConnection,
  labels: Labels,
  signal: AbortSignal,
): Promise<Network[]> {
  const found = await boundedCall('list of networks', deadlines.callMs, signal, (abortSignal) =>
    docker.listNetworks({ filters: labelFilters(labels), abortSignal }),
  );
  return (found as DockerNetwork[]).map(toNetwork);
}

export async function removeNetwork(
  { docker, deadlines }: EngineConnection,
  network: string,
  signal: AbortSignal,
): Promise<void> {
  await unlessAbsent(
    boundedCall(
      `removal of network ${network}`,
      deadlines.slowCallMs,
      signal,
      (abortSignal) => docker.getNetwork(network).remove({ abortSignal }) as Promise<unknown>,
    ),
    'network_absent',
  );
}

export async function connectContainer(
  connection: EngineConnection,
  network: string,
  container: string,
  signal: AbortSignal,
): Promise<void> {
  const { docker, deadlines } = connection;
  const connect = () =>
    boundedCall(
      `${container} into network ${network}`,
      deadlines.slowCallMs,
      signal,
      (abortSignal) => networkOf(docker, network).connect({ Container: container, abortSignal }),
    );
  try {
    await connect();
  } catch (error) {
    if (!(error instanceof Error && /already exists in network/.test(error.message))) throw error;
    const found = await inspectContainer(connection, container, signal);
    const there = await inspectNetwork(connection, network, signal);
    if (found === undefined || there?.containers.includes(found.id) !== false) return;
    // An engine can keep the place of a container of that name that was removed.
    await disconnectContainer(connection, network, container, signal);
    await connect();
  }
}

export async function disconnectContainer(
  { docker, deadlines }: EngineConnection,
  network: string,
  container: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    await unlessAbsent(
      boundedCall(
        `${container} out of network ${network}`,
        deadlines.slowCallMs,
        signal,
        (abortSignal) =>
          networkOf(docker, network).disconnect({ Container: container, Force: true, abortSignal }),
      ),
      'network_absent',
      'container_absent',
    );
  } catch (error) {
    if (!(
      error instanceof Error && /is not connected to|\bendpoint \S+ not found/.test(error.message)
    ))
      throw error;
  }
}

export async function listMembers(
  { docker, deadlines }: EngineConnection,
  network: string,
  signal: AbortSignal,
): Promise<string[]> {
  const found = await boundedCall(
    `members of network ${network}`,
    deadlines.callMs,
    signal,
    (abortSignal) =>
      docker.listContainers({ all: true, filters: { network: [network] }, abortSignal }),
  );
  return found.map(({ Id }) => Id);
}

async function unlessAbsent(
  call: Promise<unknown>,
  ...absent: ('network_absent' | 'container_absent')[]
): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!isEngineProblem(error, ...absent)) throw error;
  }
}

function addressesOf(subnet: string) {
  const [address = '', bits = ''] = subnet.split('/', 2);
  const first = Buffer.from(address.split('.').map(Number)).readUInt32BE();
  const nobody = Buffer.alloc(4);
  // The last but that of all: engines give away the first ones first.
  nobody.writeUInt32BE(first + 2 ** (32 - Number(bits)) - 2);
  return { Subnet: subnet, AuxiliaryAddresses: { DefaultGatewayIPv4: nobody.join('.') } };
}

/** As long as a name of an interface may be. */
function bridgeOf(subnet: string): string {
  const [address = ''] = subnet.split('/', 1);
  const bytes = Buffer.from(address.split('.').map(Number));
  return `isr-${bytes.toString('hex')}`;
}

/** They take options; their types do not say so. */
function networkOf(docker: Docker, name: string): NetworkWithOptions {
  return docker.getNetwork(name) as unknown as NetworkWithOptions;
}

interface NetworkWithOptions {
  inspect(options: { abortSignal: AbortSignal }): Promise<DockerNetwork>;
  connect(options: { Container: string; abortSignal: AbortSignal }): Promise<unknown>;
  disconnect(options: {
    Container: string;
    Force: true;
    abortSignal: AbortSignal;
  }): Promise<unknown>;
}

interface DockerNetwork {
  Id: string;
  Name: string;
  Labels: Record<string, string> | null;
  Internal: boolean;
  IPAM: { Config: { Subnet?: string }[] | null };
  Containers?: Record<string, { Name: string }> | null;
}

function toNetwork({ Id, Name, Labels, Internal, IPAM, Containers }: DockerNetwork): Network {
  return {
    id: Id,
    name: Name,
    labels: Labels ?? {},
    subnets: (IPAM.Config ?? []).flatMap(({ Subnet = '' }) =>
      /^[\d.]+\//.test(Subnet) ? [Subnet] : [],
    ),
    isInternal: Internal,
    // By its name, whoever is gone and has its place still.
    containers: Object.entries(Containers ?? {}).map(([id, { Name }]) =>
      id.startsWith('ep-') ? Name : id,
    ),
  };
}
