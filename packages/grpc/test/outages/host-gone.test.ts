import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { testEngine } from '@inference-server/testing';
import { PeerError } from '../../src/index.js';
import { connectTo } from '../servers.js';

const watchedAfterMs = 1_000;

/** It takes any number of calls, and says nothing more: empty SETTINGS. */
const silent = "printf '\\0\\0\\0\\4\\0\\0\\0\\0\\0'; sleep 300";

/** A container that takes connections and answers nothing; `cutOff` has the network bring it nothing any more. */
async function silentPeer(): Promise<{ address: string; cutOff: () => Promise<unknown> }> {
  const { api, image, installationId } = await testEngine();
  const name = `gone-${installationId}`;
  const Labels = { 'inference-server.installation': installationId };
  // Other engines may have the machine's network together with this one.
  const subnet = `10.${16 + (process.pid % 200)}.250.0/28`;
  await api.call('POST', '/networks/create', {
    ...{ Name: name, Labels, Internal: true, IPAM: { Config: [{ Subnet: subnet }] } },
  });
  onTestFinished(async () => void (await api.call('DELETE', `/networks/${name}`)));
  await api.call('POST', `/containers/create?name=${name}`, {
    ...{ Image: image, Labels, Cmd: ['nc', '-ll', '-p', '9090', '-e', 'sh', '-c', silent] },
    HostConfig: { Init: true, NetworkMode: name },
  });
  onTestFinished(async () => void (await api.call('DELETE', `/containers/${name}?force=1`)));
  await api.call('POST', `/containers/${name}/start`);
  const found = (await api.call('GET', `/containers/${name}/json`)) as {
    NetworkSettings: { Networks: Record<string, { IPAddress: string }> };
  };
  const host = found.NetworkSettings.Networks[name]?.IPAddress ?? '';
  await expect.poll(() => takesConnections(host, 9090), { timeout: 10_000 }).toBe(true);
  return {
    address: `${host}:9090`,
    cutOff: () =>
      api.call('POST', `/networks/${name}/disconnect`, { Container: name, Force: true }),
  };
}

function takesConnections(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}

test('a peer whose host vanishes while calls are under way is given up', async () => {
  const { address, cutOff } = await silentPeer();
  const peer = connectTo(address);
  const errors: unknown[] = [];
  const call = () =>
    peer
      .call({ path: '/t.T/Any', message: [Buffer.alloc(1_000)], maxAnswerBytes: 1_000 })
      .catch((error: unknown) => errors.push(error));
  const calls = [call()];
  // Since it is not given up by then it is connected to.
  peer.probe(watchedAfterMs);
  await sleep(2 * watchedAfterMs);
  expect(errors).toEqual([]);
  await cutOff();
  // Of what is sent and not taken the system says nothing for a quarter of an hour.
  calls.push(call());
  await Promise.all(calls);
  expect(errors).toEqual([expect.any(PeerError), expect.any(PeerError)]);
  expect(errors).toMatchObject([
    { status: 'UNAVAILABLE', neverTaken: false, cause: { message: expect.stringMatching('host') } },
    { status: 'UNAVAILABLE', neverTaken: false },
  ]);
}, 60_000);
