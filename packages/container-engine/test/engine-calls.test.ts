import { join } from 'node:path';
import type Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { allowedCalls, findAllowedCall } from '../src/docker/allowed-calls.js';
import { connectEngine } from '../src/docker/connection.js';
import { createOptions } from '../src/docker/create-options.js';
import { createDockerEngine, discoveryContainer, type ContainerEngine } from '../src/index.js';
import { importBusybox, startOwnEngine, type OwnEngine } from './own-engine.js';
import { startRecordingProxy, type RecordingProxy } from './recording-proxy.js';
import { tarOf } from './tiny-tar.js';

const signal = new AbortController().signal;
const mib = 1024 ** 2;
const limits = {
  ...{ memoryBytes: 32 * mib, cpus: 1, processes: 20, shmBytes: mib },
  ...{ logBytes: mib, fileBytes: mib },
};
const spec = {
  ...{ name: 'calls', image: 'busybox:1', labels: { kind: 'test' }, environment: {}, gpus: [] },
  mounts: [{ volume: 'calls', path: '/data', readOnly: false }],
  command: ['sh', '-c', 'sleep 60'],
  limits,
};

let own: OwnEngine;
let proxy: RecordingProxy;
let dockerHost: string;

beforeAll(async () => {
  own = await startOwnEngine();
  await importBusybox(own.docker, 'busybox:1');
  const socketPath = join(await testFolder(), 'recording.sock');
  proxy = await startRecordingProxy(socketPath, own.socketPath);
  dockerHost = `unix://${socketPath}`;
});

afterAll(() => proxy.close());

it('asks an engine for all that the list has, and for nothing else', async () => {
  const called = new Set<string>();
  const engine = noting(createDockerEngine({ dockerHost }), called);
  await engine.ping(signal);
  await engine.readClock(signal);
  await engine.describe(signal);
  await engine.inspectImage(spec.image, signal);
  await engine.pullImage('127.0.0.1:9/absent:1', signal).catch(() => undefined);
  await engine.importImage('calls/empty:1', tarOf([]), signal);
  await engine.createVolume({ name: 'calls', labels: { kind: 'test' } }, signal);
  await engine.inspectVolume('calls', signal);
  await engine.listVolumes({}, signal);
  await engine.measureVolumes(signal);
  const id = await engine.createContainer(spec, signal);
  await engine.putArchive(id, '/data', tarOf([{ name: './' }]), signal);
  const exit = engine.waitForExit(id, signal);
  await engine.startContainer(id, signal);
  await engine.readUsage(id, signal);
  await engine.listProcesses(id, signal);
  await engine.runCommand(id, ['true'], { timeoutMs: 5_000, maxBytes: 10 }, signal);
  await engine.measureStorage([id], signal);
  await engine.stopContainer(id, 0, signal);
  await exit;
  await engine.inspectContainer(id, signal);
  await engine.listContainers({}, signal);
  (await engine.getArchive(id, '/data', signal)).destroy();
  await engine.readLogs(id, { maxBytes: 10, maxLines: 1 }, signal);
  const network = { name: 'calls', labels: { kind: 'test' }, subnet: '10.214.0.0/28' };
  await engine.createNetwork(network, signal);
  await engine.inspectNetwork('calls', signal);
  await engine.listNetworks({ kind: 'test' }, signal);
  await engine.connectContainer('calls', id, signal).catch(() => undefined);
  await engine.disconnectContainer('calls', id, signal).catch(() => undefined);
  await engine.listMembers('calls', signal);
  await engine.removeContainer(id, signal);
  await engine.removeVolume('calls', signal);
  await engine.removeNetwork('calls', signal);

  expect([...called].sort()).toEqual(Object.keys(engine).sort());
  const asked = proxy.asked.map(({ method, path }) => findAllowedCall(method, path));
  expect(new Set(asked)).toEqual(new Set(allowedCalls));
});

describe('what is not on the list', () => {
  it.each<[string, (docker: Docker) => Promise<unknown>]>([
    ['the pruning of networks', (docker) => docker.pruneNetworks()],
    [
      'a place in a network with an address',
      (docker) =>
        docker.getNetwork('calls').connect({
          Container: 'calls',
          EndpointConfig: { IPAMConfig: { IPv4Address: '10.214.0.5' } },
        }),
    ],
    ['a build', (docker) => docker.buildImage(tarOf([]))],
    ['the swarm', (docker) => docker.swarmInspect()],
    ['the removal of an image', (docker) => docker.getImage('busybox:1').remove()],
    ['a commit', (docker) => docker.getContainer('calls').commit()],
    ['an update of limits', (docker) => docker.getContainer('calls').update({ Memory: 0 })],
    [
      'an image from an address',
      (docker) => docker.createImage({ fromSrc: 'http://127.0.0.1:9/' }),
    ],
    ['a place by a detour', (docker) => docker.getVolume('../containers/calls').inspect()],
    [
      'a folder of the host as a volume',
      (docker) =>
        docker.createVolume({ Name: 'host', DriverOpts: { type: 'none', o: 'bind', device: '/' } }),
    ],
    [
      'a command with privileges',
      (docker) => docker.getContainer('calls').exec({ Cmd: ['true'], Privileged: true }),
    ],
  ])('does not leave the process: %s', async (_what, call) => {
    const before = proxy.asked.length;
    const { docker } = connectEngine(dockerHost, {} as never);
    await expect(call(docker)).rejects.toMatchObject({ name: 'AppError', code: 'INTERNAL' });
    expect(proxy.asked).toHaveLength(before);
  });
});

describe('a container outside the sandbox', () => {
  const plain = createOptions(spec);
  const volume = plain.HostConfig?.Mounts?.[0];
  const device = { Driver: 'nvidia', DeviceIDs: ['GPU-1'], Capabilities: [['gpu']] };

  it.each<[string, object, object?]>([
    ['privileged', { Privileged: true }],
    ['with a folder of the host', { Binds: ['/:/host'] }],
    ['with a mount of the host', { Mounts: [{ ...volume, Type: 'bind', Source: '/' }] }],
    ['with a volume by a path', { Mounts: [{ ...volume, Source: '/etc' }] }],
    ['with the image’s content in its volumes', { Mounts: [{ ...volume, VolumeOptions: {} }] }],
    ['with devices', { Devices: [{ PathOnHost: '/dev/kmsg' }] }],
    ['with rules for devices', { DeviceCgroupRules: ['a *:* rwm'] }],
    ['with any GPUs', { DeviceRequests: [{ ...device, Count: -1 }] }],
    ['with a device of another driver', { DeviceRequests: [{ ...device, Driver: '' }] }],
    ['with the network of the host', { NetworkMode: 'host' }],
    ['with another container’s network', { NetworkMode: 'container:other' }],
    ['with the IPC of the host', { IpcMode: 'host' }],
    ['with the processes of the host, and volumes', { PidMode: 'host', UsernsMode: 'host' }],
    ['with the users of the host', { UsernsMode: 'host' }],
    ['with the names of the host', { UTSMode: 'host' }],
    ['with the cgroups of the host', { CgroupnsMode: 'host' }],
    ['with capabilities', { CapAdd: ['SYS_ADMIN'] }],
    ['with all capabilities', { CapAdd: ['ALL'] }],
    ['with the usual capabilities', { CapDrop: [] }],
    ['without seccomp', { SecurityOpt: ['no-new-privileges:true', 'seccomp=unconfined'] }],
    ['with new privileges', { SecurityOpt: [] }],
    ['with swap', { MemorySwap: 2 ** 40 }],
    ['with any swap', { MemorySwap: -1 }],
    ['without a limit of memory', { Memory: 0, MemorySwap: 0 }],
    ['without a limit of processes', { PidsLimit: -1 }],
    ['with cores', { Ulimits: [{ Name: 'core', Soft: -1, Hard: -1 }] }],
    ['with endless logs', { LogConfig: { Type: 'json-file', Config: {} } }],
    ['with kernel settings', { Sysctls: { 'net.ipv4.ip_forward': '1' } }],
    ['with nothing masked', { MaskedPaths: [] }],
    ['that outlives the engine', { RestartPolicy: { Name: 'always' } }],
    ['with a runtime by a path', { Runtime: '/tmp/runc' }],
    ['with a tmpfs elsewhere', { Tmpfs: { '/bin': 'rw' } }],
    ['as root', {}, { User: 'root' }],
    ['as root by number', {}, { User: '0:0' }],
    ['with a network that is not named', {}, { NetworkDisabled: false }],
    ['with a network of the host, openly', { NetworkMode: 'host' }, { NetworkDisabled: false }],
  ])('does not leave the process: %s', async (_what, host, more = {}) => {
    const before = proxy.asked.length;
    const { docker } = connectEngine(dockerHost, {} as never);
    const asked = { ...plain, ...more, HostConfig: { ...plain.HostConfig, ...host } };
    const create = docker.createContainer(asked);
    await expect(create).rejects.toMatchObject({ name: 'AppError', code: 'INTERNAL' });
    expect(proxy.asked).toHaveLength(before);
  });

  it('is not the one that tells of the host’s GPUs', async () => {
    const gpus = discoveryContainer({ name: 'gpus', image: 'busybox:1', labels: {}, gpus: 'all' });
    const { docker } = connectEngine(dockerHost, {} as never);
    const { id } = await docker.createContainer(createOptions(gpus));
    await docker.getContainer(id).remove();
  });
});

describe('a network that is none of ours', () => {
  const addresses = {
    Subnet: '10.214.0.0/28',
    AuxiliaryAddresses: { DefaultGatewayIPv4: '10.214.0.14' },
  };
  const ours = {
    ...{ Name: 'calls', CheckDuplicate: true, Driver: 'bridge', Internal: true },
    ...{ Attachable: false, Ingress: false, EnableIPv6: false, Labels: {} },
    IPAM: { Driver: 'default', Config: [addresses] },
    Options: { 'com.docker.network.bridge.name': 'isr-0ad60000' },
  };

  it.each<[string, object]>([
    ['with a way out', { Internal: false }],
    ['that does not say whether it has', { Internal: undefined }],
    ['that anybody may join', { Attachable: true }],
    ['with IPv6', { EnableIPv6: true }],
    ['of another driver', { Driver: 'macvlan' }],
    ['with a subnet that the engine chooses', { IPAM: { Driver: 'default', Config: [] } }],
    [
      'that sends all else to the host',
      { IPAM: { Driver: 'default', Config: [{ Subnet: addresses.Subnet }] } },
    ],
    [
      'with a gateway of its own',
      { IPAM: { Driver: 'default', Config: [{ ...addresses, Gateway: '10.214.0.2' }] } },
    ],
    ['on a bridge of the host’s', { Options: { 'com.docker.network.bridge.name': 'docker0' } }],
    [
      'with more options',
      { Options: { ...ours.Options, 'com.docker.network.bridge.enable_ip_masquerade': 'true' } },
    ],
    ['from another one’s settings', { ConfigFrom: { Network: 'bridge' } }],
  ])('does not leave the process: %s', async (_what, more) => {
    const before = proxy.asked.length;
    const { docker } = connectEngine(dockerHost, {} as never);
    const create = docker.createNetwork({ ...ours, ...more });
    await expect(create).rejects.toMatchObject({ name: 'AppError', code: 'INTERNAL' });
    expect(proxy.asked).toHaveLength(before);
  });
});

/** The engine, which takes note of what it was asked for. */
function noting(engine: ContainerEngine, called: Set<string>): ContainerEngine {
  return new Proxy(engine, {
    get(target, name: keyof ContainerEngine) {
      called.add(name);
      return target[name];
    },
  });
}
