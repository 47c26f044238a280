import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import type {
  ContainerEngine,
  ContainerExit,
  ContainerSpec,
  Labels,
  LogTail,
} from '../src/container-engine.js';

/** What every adapter of the port does with networks. Part of describeContainerEngine. */
export function describeNetworks(scene: {
  engineOf(): ContainerEngine;
  freshName(): string;
  specOf(command: string, more?: Partial<ContainerSpec>): ContainerSpec;
  runToEnd(spec: ContainerSpec): Promise<{ id: string; exit: ContainerExit }>;
  logOf(id: string): Promise<LogTail>;
  /** Of everything that is made: it is removed after each test. */
  labels: Labels;
  signal: AbortSignal;
}): void {
  const { engineOf, freshName, specOf, runToEnd, logOf, labels, signal } = scene;
  // Other engines may have the machine's network together with this one.
  const second = 16 + (process.pid % 200);
  let third = 0;
  const freshSubnet = () => `10.${second}.${(third += 1)}.0/28`;

  const make = async (subnet = freshSubnet()) => {
    const name = freshName();
    const made = await engineOf().createNetwork({ name, labels, subnet }, signal);
    if (!('id' in made)) throw new Error(`taken: ${made.taken}`);
    return { id: made.id, name, subnet };
  };
  const started = async (command: string, network: string) => {
    const id = await engineOf().createContainer(specOf(command, { sandbox: { network } }), signal);
    expect(await engineOf().startContainer(id, signal)).toEqual({ started: true });
    return id;
  };

  describe('networks', () => {
    it('makes one without a way out, finds it, lists it by its labels, removes it', async () => {
      const engine = engineOf();
      const { id, name, subnet } = await make();
      const found = { id, name, labels, subnets: [subnet], isInternal: true, containers: [] };
      expect(await engine.inspectNetwork(name, signal)).toEqual(found);
      expect(await engine.inspectNetwork(id, signal)).toEqual(found);
      expect(await engine.listNetworks(labels, signal)).toEqual([found]);
      expect(await engine.listNetworks({ ...labels, colour: 'red' }, signal)).toEqual([]);
      await engine.removeNetwork(name, signal);
      await engine.removeNetwork(name, signal);
      expect(await engine.inspectNetwork(name, signal)).toBeUndefined();
    });

    it('says when its name or its subnet is taken', async () => {
      const engine = engineOf();
      const { name, subnet } = await make();
      const other = { name: freshName(), labels, subnet: subnet.replace('/28', '/29') };
      expect(await engine.createNetwork(other, signal)).toEqual({ taken: 'subnet' });
      const again = { name, labels, subnet: freshSubnet() };
      expect(await engine.createNetwork(again, signal)).toEqual({ taken: 'name' });
      expect(await engine.listNetworks(labels, signal)).toHaveLength(1);
    });

    it('gives a container an address that this machine reaches, while it runs', async () => {
      const engine = engineOf();
      const { name } = await make();
      const id = await started('echo hello | nc -l -p 9090', name);
      const running = await engine.inspectContainer(id, signal);
      const address = running?.addresses[name] ?? '';
      expect(running?.addresses).toEqual({ [name]: expect.stringMatching(/^10\./) });
      expect((await engine.inspectNetwork(name, signal))?.containers).toEqual([id]);
      await expect.poll(() => answerOf(address, 9090), { timeout: 5_000 }).toBe('hello\n');
      await engine.stopContainer(id, 0, signal);
      expect((await engine.inspectContainer(id, signal))?.addresses).toEqual({});
    });

    it('is kept while a running container is in it', async () => {
      const engine = engineOf();
      const { name } = await make();
      const id = await started('sleep 60', name);
      await expect(engine.removeNetwork(name, signal)).rejects.toMatchObject({ problem: 'in_use' });
      await engine.removeContainer(id, signal);
      await engine.removeNetwork(name, signal);
    });

    it('takes another container in and out', async () => {
      const engine = engineOf();
      const first = await make();
      const second = await make();
      const id = await started('sleep 60', first.name);
      await engine.connectContainer(second.name, id, signal);
      await engine.connectContainer(second.name, id, signal);
      const both = (await engine.inspectContainer(id, signal))?.addresses ?? {};
      expect(Object.keys(both).sort()).toEqual([first.name, second.name].sort());
      await engine.disconnectContainer(second.name, id, signal);
      await engine.disconnectContainer(second.name, id, signal);
      const one = (await engine.inspectContainer(id, signal))?.addresses ?? {};
      expect(Object.keys(one)).toEqual([first.name]);
      await engine.removeNetwork(second.name, signal);
      await engine.disconnectContainer(second.name, id, signal);
      await engine.disconnectContainer(first.name, freshName(), signal);
      await expect(engine.connectContainer(second.name, id, signal)).rejects.toMatchObject({
        problem: 'network_absent',
      });
      await expect(engine.connectContainer(first.name, freshName(), signal)).rejects.toMatchObject({
        problem: 'container_absent',
      });
    });

    it('has members that do not run, and are never started again without it, unless taken out', async () => {
      const engine = engineOf();
      const [first, second, third] = [await make(), await make(), await make()];
      const id = await started('sleep 60', first.name);
      for (const { name } of [second, third]) await engine.connectContainer(name, id, signal);
      expect(await engine.listMembers(second.id, signal)).toEqual([id]);
      await engine.stopContainer(id, 0, signal);
      expect((await engine.inspectNetwork(second.name, signal))?.containers).toEqual([]);
      expect(await engine.listMembers(second.id, signal)).toEqual([id]);
      await engine.disconnectContainer(second.id, id, signal);
      expect(await engine.listMembers(second.id, signal)).toEqual([]);

      for (const { name } of [second, third]) await engine.removeNetwork(name, signal);
      expect(await engine.listMembers(third.id, signal)).toEqual([id]);
      expect(await engine.startContainer(id, signal)).toMatchObject({ started: false });
      await engine.disconnectContainer(third.name, id, signal);
      expect(await engine.listMembers(third.id, signal)).toEqual([]);
      expect(await engine.startContainer(id, signal)).toEqual({ started: true });
      const addresses = (await engine.inspectContainer(id, signal))?.addresses ?? {};
      expect(Object.keys(addresses)).toEqual([first.name]);
    });

    it('leads to its own bridge on the host, to no other network, and to nothing outside', async () => {
      const engine = engineOf();
      const [one, other] = [await make(), await make()];
      const serve = 'while true; do echo reached | nc -l -p 9090; done';
      const server = await started(serve, other.name);
      const address = (await engine.inspectContainer(server, signal))?.addresses[other.name] ?? '';
      await expect.poll(() => answerOf(address, 9090), { timeout: 5_000 }).toBe('reached\n');
      const host = createServer((socket) => void socket.end('host')).listen(0, '0.0.0.0');
      await once(host, 'listening');
      const { port } = host.address() as AddressInfo;
      const bridgeOf = ({ subnet }: typeof one) => subnet.replace('.0/28', '.1');
      expect(await answerOf(bridgeOf(other), port)).toBe('host');
      const ask = (to: string) => `echo; echo ${to}; nc -w 2 ${to} 2>&1 < /dev/null`;
      const all = [
        `${address} 9090`,
        `${bridgeOf(other)} ${port}`,
        `192.0.2.1 ${port}`,
        `${bridgeOf(one)} ${port}`,
      ];
      const { id } = await runToEnd(
        specOf(`${all.map(ask).join('; ')}; true`, { sandbox: { network: one.name } }),
      );
      host.close();
      const answers = (await logOf(id)).text.trim().split('\n\n');
      expect(answers.slice(0, 3).join('\n')).not.toMatch(/^(?:reached|host)$/m);
      expect(answers.at(-1)).toBe(`${bridgeOf(one)} ${port}\nhost`);
      expect(answers).toHaveLength(4);
    });

    it('starts no container in one that is gone', async () => {
      const engine = engineOf();
      const { name } = await make();
      const id = await engine.createContainer(
        specOf('true', { sandbox: { network: name } }),
        signal,
      );
      await engine.removeNetwork(name, signal);
      const start = await engine.startContainer(id, signal);
      expect(start).toEqual({ started: false, startError: expect.stringContaining('not found') });
    });
  });
}

/** What is sent by who listens there; empty: nobody does. */
async function answerOf(host: string, port: number): Promise<string> {
  const socket = connect({ host, port });
  let text = '';
  try {
    for await (const chunk of socket) text += String(chunk);
  } catch {
    return '';
  }
  return text;
}
