import { describe, expect, it } from 'vitest';
import type { ContainerEngine, ContainerSpec } from '../src/container-engine.js';

/** What every adapter of the port tells of what a container uses. Part of describeContainerEngine. */
export function describeUsage(scene: {
  engineOf(): ContainerEngine;
  specOf(command: string, more?: Partial<ContainerSpec>): ContainerSpec;
  signal: AbortSignal;
}): void {
  const { engineOf, specOf, signal } = scene;
  describe('usage', () => {
    it('tells the cores and the memory that a running container has used', async () => {
      const engine = engineOf();
      // 16 MiB in the shell's memory, then cycles.
      const id = await engine.createContainer(
        specOf('x=$(dd if=/dev/zero bs=1M count=16 2>/dev/null | tr "\\0" a); while :; do :; done'),
        signal,
      );
      expect(await engine.readUsage(id, signal)).toBeUndefined();
      await engine.startContainer(id, signal);
      const cpuSeconds = async () => (await engine.readUsage(id, signal))?.cpuSeconds ?? 0;
      await expect.poll(cpuSeconds, { timeout: 20_000 }).toBeGreaterThan(1);
      const before = performance.now();
      const first = await engine.readUsage(id, signal);
      await expect.poll(cpuSeconds, { timeout: 20_000 }).toBeGreaterThan(first!.cpuSeconds + 0.3);
      // It may use one core.
      const later = await engine.readUsage(id, signal);
      const elapsedS = (performance.now() - before) / 1000;
      expect(later!.cpuSeconds - first!.cpuSeconds).toBeLessThan(1.5 * elapsedS + 0.2);
      expect(later!.memoryBytes).toBeGreaterThan(16 * 1024 ** 2);
      expect(later!.memoryBytes).toBeLessThan(64 * 1024 ** 2);
      expect(later!.readBytes).toBeGreaterThanOrEqual(0);
      expect(later!.writtenBytes).toBeGreaterThanOrEqual(0);
      await engine.stopContainer(id, 0, signal);
      expect(await engine.readUsage(id, signal)).toBeUndefined();
      await engine.removeContainer(id, signal);
      expect(await engine.readUsage(id, signal)).toBeUndefined();
    });
  });
}
