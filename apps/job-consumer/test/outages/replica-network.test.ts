import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createLogger } from '@inference-server/service-kit';
import { needs } from '@inference-server/testing';
import { openReplicaScene, type ReplicaScene } from '../replica-scene.js';

const small = { needs: needs({ memory_mib: 128 }) };
const signal = new AbortController().signal;
let scene: ReplicaScene;

beforeAll(async () => {
  scene = await openReplicaScene();
});

afterEach(async () => {
  await scene.closeAll();
  await scene.removeAll();
});

const start = (options: Parameters<ReplicaScene['start']>[0] = {}) =>
  scene.start({ limits: { memoryBytes: 256 * 1024 ** 2 }, ...options });

async function makeHome(subnet: string): Promise<string> {
  const labels = { 'inference-server.installation': scene.own.installationId };
  const name = `home-${scene.own.installationId}`;
  await scene.engine.createNetwork({ name, labels, subnet }, signal);
  return name;
}

/** A container that stays, in this network. */
async function makeGateway(name: string, network: string): Promise<void> {
  const labels = { 'inference-server.installation': scene.own.installationId };
  await scene.own.api.call('POST', `/containers/create?name=${name}`, {
    ...{ Image: scene.own.image, Cmd: ['sleep', '100'] },
    ...{ HostConfig: { Init: true, NetworkMode: network }, Labels: labels },
  });
  await scene.own.api.call('POST', `/containers/${name}/start`);
}

/** Runs in a replica: what these addresses, and a name, answer it. */
function looking(addresses: readonly string[]): string {
  return `
    const { connect } = await import('node:net');
    const { lookup } = await import('node:dns/promises');
    const ask = (address) => new Promise((resolve) => {
      const [host, port] = address.split(':');
      const socket = connect({ host, port: Number(port), timeout: 2_000 });
      socket.on('connect', () => { socket.destroy(); resolve('reached'); });
      socket.on('error', () => resolve('not reached'));
      socket.on('timeout', () => { socket.destroy(); resolve('not reached'); });
    });
    const own = Object.values((await import('node:os')).networkInterfaces()).flat()
      .find(({ internal, family }) => !internal && family === 'IPv4').address;
    const bridge = own.replace(/\\d+$/, (last) => String(Number(last) - Number(last) % 16 + 1));
    for (const address of ${JSON.stringify(addresses)}) {
      console.log(await ask(address.replace('bridge', bridge)));
    }
    console.log(await lookup('example.org').catch(({ code }) => 'no name'));
    process.exit(0);`;
}

describe('in its network a replica', () => {
  it('reaches nothing outside, and no name', async () => {
    const { id } = await start();
    const other = await scene.untilReady(scene.order(id, {}, small));
    const host = createServer((socket) => socket.destroy()).listen(0, '0.0.0.0');
    await once(host, 'listening');
    const { port } = host.address() as AddressInfo;
    const [otherHost = ''] = other.split(':');
    const otherBridge = otherHost.replace(
      /\d+$/,
      (last) => `${Number(last) - (Number(last) % 16) + 1}`,
    );
    const addresses = [other, `${otherBridge}:${port}`, '192.0.2.1:80', `bridge:${port}`];
    const replica = scene.order(id, { before: looking(addresses) }, small);
    const end = await scene.untilEnded(replica, 25_000);
    host.close();
    const lines = end?.log.trim().split('\n').slice(1);
    // Its own bridge has an address, and there is whatever the host has listening on all.
    expect(lines).toEqual(['not reached', 'not reached', 'not reached', 'reached', 'no name']);
  });

  it('is beside the gateways that are in containers, also when one is made anew', async () => {
    const gateway = `gateway-${scene.own.installationId}`;
    const home = await makeHome('10.214.254.0/28');
    const make = () => makeGateway(gateway, home);
    const remove = () => scene.own.api.call('DELETE', `/containers/${gateway}?force=1`);
    await make();
    const { id } = await start({ hosting: { gateways: [gateway] } });
    const replica = scene.order(id, {}, small);
    await scene.untilReady(replica);
    const network = scene.namesOf(id, replica.id).name('replica-network');
    const isIn = async () => {
      const found = await scene.engine.inspectContainer(gateway, signal);
      return network in (found?.addresses ?? {});
    };
    expect(await isIn()).toBe(true);
    await remove();
    await make();
    await expect.poll(isIn, { timeout: 15_000 }).toBe(true);
    scene.replicas.stop(id, replica.id);
    await scene.untilEnded(replica);
    expect(await scene.engine.inspectNetwork(network, signal)).toBeUndefined();
    await remove();
  });

  it('is started though a gateway is not there, which is told once, and has it as soon as it is', async () => {
    const gateway = `late-${scene.own.installationId}`;
    const logger = createLogger('test', 'silent');
    vi.spyOn(logger, 'child').mockReturnValue(logger as never);
    const warn = vi.spyOn(logger, 'warn');
    const { id } = await start({ hosting: { gateways: [gateway] }, logger });
    const replicas = [scene.order(id, {}, small), scene.order(id, {}, small)];
    for (const replica of replicas) await scene.untilReady(replica);
    const told = warn.mock.calls.filter(([, said]) => String(said).startsWith('gateways'));
    expect(told).toEqual([[{ gateways: [gateway] }, 'gateways do not run on this engine']]);
    const home = await makeHome('10.214.254.16/28');
    await makeGateway(gateway, home);
    const networks = replicas.map((replica) =>
      scene.namesOf(id, replica.id).name('replica-network'),
    );
    const joined = async () => {
      const found = await scene.engine.inspectContainer(gateway, signal);
      return networks.filter((network) => network in (found?.addresses ?? {}));
    };
    await expect.poll(joined, { timeout: 15_000 }).toEqual(networks);
    await scene.own.api.call('DELETE', `/containers/${gateway}?force=1`);
  });

  it('has none where all subnets are taken', async () => {
    const block = { name: `block-${scene.own.installationId}`, subnet: '10.214.255.0/28' };
    const labels = { 'inference-server.installation': scene.own.installationId };
    await scene.engine.createNetwork({ ...block, labels }, signal);
    const { id } = await start({ hosting: { subnets: '10.214.255.0/28' } });
    // As many as faults of the engine would have it quarantined.
    for (let n = 0; n < 3; n += 1) {
      expect(await scene.untilEnded(scene.order(id, {}, small))).toMatchObject({
        reason: 'start_failed',
        detail: 'No subnet of REPLICA_SUBNETS (10.214.255.0/28) is free.',
      });
    }
    const task = scene.addTask('true');
    await scene.send(id, [task]);
    expect(await task.settled).toMatchObject({ kind: 'finished' });
    const states = scene.registrationsOf(id).map(({ state }) => state);
    expect(states).not.toContain('quarantined');
    expect(states).not.toContain('engine_away');
  });
});
