import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { EngineError, type ContainerEngine } from '@inference-server/container-engine';
import type { ReplicaOrder } from '@inference-server/contracts';
import { createLogger } from '@inference-server/service-kit';
import { needs } from '@inference-server/testing';
import { createNames } from '../../src/names.js';
import { removeNetwork } from '../../src/replicas/replica-network.js';
import { removeReplicaTraces } from '../../src/replicas/replica-traces.js';
import { openReplicaScene, type ReplicaScene } from '../replica-scene.js';

const small = { needs: needs({ memory_mib: 128 }) };
const signal = new AbortController().signal;
let scene: ReplicaScene;
let gateway: string;
let homes = 0;

beforeAll(async () => {
  scene = await openReplicaScene();
  gateway = `gateway-${scene.own.installationId}`;
});

afterEach(async () => {
  await scene.closeAll();
  await removeGateway();
  await scene.removeAll();
});

const start = (options: Parameters<ReplicaScene['start']>[0] = {}) =>
  scene.start({
    limits: { memoryBytes: 256 * 1024 ** 2 },
    hosting: { gateways: [gateway] },
    ...options,
  });

const labels = () => ({ 'inference-server.installation': scene.own.installationId });

async function makeHome(): Promise<string> {
  const name = `home-${(homes += 1)}-${scene.own.installationId}`;
  const subnet = `10.214.254.${16 * homes}/28`;
  await scene.engine.createNetwork({ name, labels: labels(), subnet }, signal);
  return name;
}

/** A container that stays, in this network; `failingIn`: that ends, and is started again and again, in this one too. */
async function makeGateway(network: string, failingIn?: string): Promise<void> {
  const command = failingIn === undefined ? ['sleep', '100'] : ['false'];
  const restart = failingIn === undefined ? 'no' : 'always';
  await scene.own.api.call('POST', `/containers/create?name=${gateway}`, {
    ...{ Image: scene.own.image, Cmd: command, Labels: labels() },
    HostConfig: { Init: true, NetworkMode: network, RestartPolicy: { Name: restart } },
  });
  if (failingIn !== undefined) await scene.engine.connectContainer(failingIn, gateway, signal);
  await scene.own.api.call('POST', `/containers/${gateway}/start`);
}

const removeGateway = () => scene.engine.removeContainer(gateway, signal);
const stateOf = async () => (await scene.engine.inspectContainer(gateway, signal))?.state;
const networkOf = (id: string, replica: ReplicaOrder) =>
  scene.namesOf(id, replica.id).name('replica-network');
const isIn = async (network: string) => {
  const found = await scene.engine.inspectContainer(gateway, signal);
  return network in (found?.addresses ?? {});
};

function noting(said: string) {
  const logger = createLogger('test', 'silent');
  vi.spyOn(logger, 'child').mockReturnValue(logger as never);
  const warn = vi.spyOn(logger, 'warn');
  const told = () => warn.mock.calls.filter(([, text]) => String(text) === said);
  return { logger, told };
}

describe('the network of a replica', () => {
  it('has the gateways that are in containers, also when one is made anew', async () => {
    const home = await makeHome();
    await makeGateway(home);
    const { id } = await start();
    const replica = scene.order(id, {}, small);
    await scene.untilReady(replica);
    const network = networkOf(id, replica);
    expect(await isIn(network)).toBe(true);
    await removeGateway();
    await makeGateway(home);
    await expect.poll(() => isIn(network), { timeout: 15_000 }).toBe(true);
    scene.replicas.stop(id, replica.id);
    await scene.untilEnded(replica);
    expect(await scene.engine.inspectNetwork(network, signal)).toBeUndefined();
  });

  it('is there though a gateway is not, which is told once, and has it as soon as it is', async () => {
    const { logger, told } = noting('gateways do not run on this engine');
    const { id } = await start({ logger });
    const replicas = [scene.order(id, {}, small), scene.order(id, {}, small)];
    for (const replica of replicas) await scene.untilReady(replica);
    expect(told()).toEqual([[{ gateways: [gateway] }, 'gateways do not run on this engine']]);
    await makeGateway(await makeHome());
    const networks = replicas.map((replica) => networkOf(id, replica));
    for (const network of networks) {
      await expect.poll(() => isIn(network), { timeout: 15_000 }).toBe(true);
    }
  });

  it('does not wait for another into which a gateway cannot be had, which is told once', async () => {
    const said = 'a gateway is not in the network of a replica';
    const { logger, told } = noting(said);
    let refused = '';
    let refusals = 0;
    const connectContainer = async (...args: Parameters<ContainerEngine['connectContainer']>) => {
      if (args[0] !== refused) return scene.engine.connectContainer(...args);
      refusals += 1;
      throw new EngineError('failed', 'no address is left');
    };
    const wrap = (engine: ContainerEngine) => ({ ...engine, connectContainer });
    const { id } = await start({ logger, wrap });
    const [first, second] = [scene.order(id, {}, small), scene.order(id, {}, small)];
    for (const replica of [first, second]) await scene.untilReady(replica);
    refused = networkOf(id, first);
    await makeGateway(await makeHome());
    await expect.poll(() => isIn(networkOf(id, second)), { timeout: 15_000 }).toBe(true);
    await expect.poll(() => refusals, { timeout: 15_000 }).toBe(2);
    expect(told()).toEqual([[{ gateway, network: refused, reason: 'no address is left' }, said]]);
    refused = '';
    await expect.poll(() => isIn(networkOf(id, first)), { timeout: 15_000 }).toBe(true);
  }, 60_000);

  it('has a gateway though another cannot be looked at, which is told once', async () => {
    const said = 'a gateway cannot be looked at';
    const { logger, told } = noting(said);
    const unseen = `unseen-${scene.own.installationId}`;
    const inspectContainer = async (...args: Parameters<ContainerEngine['inspectContainer']>) => {
      if (args[0] === unseen) throw new EngineError('failed', 'its files are broken');
      return scene.engine.inspectContainer(...args);
    };
    const wrap = (engine: ContainerEngine) => ({ ...engine, inspectContainer });
    const { id } = await start({ logger, wrap, hosting: { gateways: [unseen, gateway] } });
    const replica = scene.order(id, {}, small);
    await scene.untilReady(replica);
    await makeGateway(await makeHome());
    await expect.poll(() => isIn(networkOf(id, replica)), { timeout: 15_000 }).toBe(true);
    await scene.closeAll();
    expect(told()).toEqual([[{ gateway: unseen, reason: 'its files are broken' }, said]]);
  }, 60_000);

  it('of one that has served is not waited for: it is told of at once', async () => {
    const options = { id: 'served', handsOver: true };
    const { id } = await start(options);
    const replica = scene.order(id, {}, small);
    const address = await scene.untilReady(replica);
    await scene.closeAll();
    const { length } = scene.replicas.reports;
    const wrap = (engine: ContainerEngine): ContainerEngine => ({
      ...engine,
      inspectContainer: (container, bounds) =>
        container === gateway ? untilAbort(bounds) : engine.inspectContainer(container, bounds),
    });
    await start({ ...options, wrap });
    const later = () => scene.replicas.reports.slice(length).flatMap(({ replicas }) => replicas);
    const ready = { id: replica.id, state: 'ready', address };
    await expect.poll(() => later()[0], { timeout: 10_000 }).toEqual(ready);
  }, 60_000);

  it('of one that is found while it begins has a gateway that was made anew, at once and later', async () => {
    const home = await makeHome();
    await makeGateway(home);
    const options = { id: 'begins', handsOver: true };
    const { id } = await start(options);
    const replica = scene.order(
      id,
      { before: 'await new Promise(() => setInterval(() => {}, 1000));' },
      small,
    );
    const state = async () => (await scene.containerOf(id, replica))?.state;
    await expect.poll(state, { timeout: 10_000 }).toBe('running');
    await scene.closeAll();
    await removeGateway();
    await makeGateway(home);
    const network = networkOf(id, replica);
    expect(await isIn(network)).toBe(false);
    await start({ ...options, hosting: { gateways: [gateway], startTimeoutMs: 60_000 } });
    await expect.poll(() => isIn(network), { timeout: 5_000 }).toBe(true);
    await removeGateway();
    await makeGateway(home);
    await expect.poll(() => isIn(network), { timeout: 15_000 }).toBe(true);
    expect(scene.replicas.said(replica.id)?.state).toBe('starting');
    scene.replicas.stop(id, replica.id);
    await scene.untilEnded(replica);
  }, 60_000);
});

describe('a gateway that does not run when the network of a replica goes', () => {
  it('can be started again, where it was stopped', async () => {
    await makeGateway(await makeHome());
    const { id } = await start();
    const replica = scene.order(id, {}, small);
    await scene.untilReady(replica);
    await scene.engine.stopContainer(gateway, 0, signal);
    scene.replicas.stop(id, replica.id);
    await scene.untilEnded(replica);
    expect(await scene.engine.startContainer(gateway, signal)).toEqual({ started: true });
  });

  it('is started again, where it waits for that', async () => {
    const replica = scene.namesOf('any', 'waited-for');
    const network = { name: replica.name('replica-network'), subnet: '10.214.253.0/28' };
    const made = await scene.engine.createNetwork({ ...network, labels: labels() }, signal);
    const networkId = 'id' in made ? made.id : '';
    await makeGateway(await makeHome(), network.name);
    // Each pause is twice as long as the one before: the first ones are too short to be met.
    await expect.poll(restarts, { timeout: 20_000 }).toBeGreaterThanOrEqual(5);
    await expect.poll(stateOf).toBe('restarting');
    expect(await scene.engine.listMembers(networkId, signal)).toHaveLength(1);
    const before = await restarts();
    let removals = 0;
    let failures = 0;
    const failingOnce: ContainerEngine = {
      ...scene.engine,
      async removeNetwork(...args) {
        await scene.engine.removeNetwork(...args);
        if ((removals += 1) === 1) throw new EngineError('unreachable', 'its answer was lost');
      },
      async listMembers(...args) {
        if (removals > 0 && failures++ === 0) throw new EngineError('failed', 'not this time');
        return scene.engine.listMembers(...args);
      },
    };
    await removeNetwork(failingOnce, { id: networkId, name: network.name }, signal);
    expect([removals, failures]).toEqual([3, 2]);
    expect(await scene.engine.listMembers(networkId, signal)).toEqual([]);
    await expect.poll(restarts, { timeout: 20_000 }).toBeGreaterThan(before + 1);
  }, 60_000);
});

it('removes the network of a replica for no longer than the process may last', async () => {
  const own = scene.namesOf('any', 'out-of-time');
  const network = { name: own.name('replica-network'), subnet: '10.214.253.16/28' };
  const ofReplica = own.labels('replica-network');
  await scene.engine.createNetwork({ ...network, labels: ofReplica }, signal);
  const outOfTime = new AbortController();
  let failures = 0;
  const engine: ContainerEngine = {
    ...scene.engine,
    async listMembers(...args) {
      const isThere = (await scene.engine.inspectNetwork(network.name, signal)) !== undefined;
      if (isThere) return scene.engine.listMembers(...args);
      failures += 1;
      outOfTime.abort();
      throw new EngineError('unreachable', 'it is away');
    },
  };
  const names = createNames(scene.own.installationId, 'any');
  const removed = removeReplicaTraces({ engine, names, own }, outOfTime.signal);
  await expect(removed).rejects.toThrow('it is away');
  expect(failures).toBe(1);
});

async function untilAbort(bounds: AbortSignal): Promise<never> {
  bounds.throwIfAborted();
  return new Promise((_resolve, reject) => {
    bounds.addEventListener('abort', () => reject(bounds.reason as Error), { once: true });
  });
}

async function restarts(): Promise<number> {
  const found = await scene.own.api.call('GET', `/containers/${gateway}/json`);
  return (found as { RestartCount: number }).RestartCount;
}
