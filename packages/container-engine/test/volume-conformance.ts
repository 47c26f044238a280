import { describe, expect, it } from 'vitest';
import type {
  ContainerEngine,
  ContainerExit,
  ContainerSpec,
  Labels,
  LogTail,
} from '../src/container-engine.js';

/** What every adapter of the port does with volumes. Part of describeContainerEngine. */
export function describeVolumes(scene: {
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
  describe('volumes', () => {
    it('keeps the labels of the first creator', async () => {
      const engine = engineOf();
      const name = freshName();
      const first = { name, labels: { ...labels, by: 'first' } };
      await engine.createVolume(first, signal);
      const second = { name, labels: { ...labels, by: 'second' } };
      await engine.createVolume(second, signal);
      expect(await engine.inspectVolume(name, signal)).toEqual(first);
    });

    it('makes one anew that has no labels, and refuses to while a container has it', async () => {
      const engine = engineOf();
      const name = freshName();
      await engine.createVolume({ name, labels: {} }, signal);
      await engine.createVolume({ name, labels }, signal);
      expect(await engine.inspectVolume(name, signal)).toEqual({ name, labels });

      const used = freshName();
      await engine.createVolume({ name: used, labels: {} }, signal);
      const mounts = [{ volume: used, path: '/input', readOnly: true }];
      const container = await engine.createContainer(specOf('true', { mounts }), signal);
      const making = engine.createVolume({ name: used, labels }, signal);
      await expect(making).rejects.toMatchObject({ problem: 'in_use' });
      await engine.removeContainer(container, signal);
      await engine.removeVolume(used, signal);
    });

    it('lists by all the labels, or all there are', async () => {
      const engine = engineOf();
      const name = freshName();
      await engine.createVolume({ name, labels: { ...labels, colour: 'red' } }, signal);
      await engine.createVolume({ name: freshName(), labels }, signal);
      const found = await engine.listVolumes({ ...labels, colour: 'red' }, signal);
      expect(found.map((volume) => volume.name)).toEqual([name]);
      const unlabelled = { name: freshName(), labels: {} };
      await engine.createVolume(unlabelled, signal);
      expect(await engine.listVolumes({}, signal)).toContainEqual(unlabelled);
      await engine.removeVolume(unlabelled.name, signal);
    });

    it('takes the removal of an absent one as done, and refuses one in use', async () => {
      const engine = engineOf();
      const name = freshName();
      await engine.removeVolume(name, signal);
      expect(await engine.inspectVolume(name, signal)).toBeUndefined();
      await engine.createVolume({ name, labels }, signal);
      const mounts = [{ volume: name, path: '/data', readOnly: false }];
      const id = await engine.createContainer(specOf('true', { mounts }), signal);
      const inUse = { problem: 'in_use' };
      await expect(engine.removeVolume(name, signal)).rejects.toMatchObject(inUse);
      expect((await engine.inspectContainer(id, signal))?.volumes).toContain(name);
      expect((await engine.listContainers(labels, signal))[0]?.volumes).toContain(name);
      await engine.removeContainer(id, signal);
      await engine.removeVolume(name, signal);
    });

    it('does not copy what the image has at the mount point', async () => {
      const engine = engineOf();
      const name = freshName();
      await engine.createVolume({ name, labels }, signal);
      const mounts = [{ volume: name, path: '/tmp', readOnly: false }];
      const { id } = await runToEnd(specOf('ls -A /tmp', { mounts }));
      expect((await logOf(id)).text).toBe('');
    });
  });
}
