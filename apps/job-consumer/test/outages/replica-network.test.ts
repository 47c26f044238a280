import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
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
