import type { ContainerUsage } from '../container-engine.js';
import { isEngineProblem } from '../engine-error.js';
import { boundedCall, dialStream, type EngineConnection } from './connection.js';

/** The engine reads the kernel's counters at once: no second look is waited for. */
export async function readUsage(
  connection: EngineConnection,
  container: string,
  signal: AbortSignal,
): Promise<ContainerUsage | undefined> {
  try {
    const { callMs } = connection.deadlines;
    return await boundedCall(`usage of ${container}`, callMs, signal, async (abortSignal) => {
      const query = { stream: '0', 'one-shot': '1' };
      const path = `/containers/${container}/stats`;
      const answer = await dialStream(connection, { method: 'GET', path, query }, abortSignal);
      const chunks: Buffer[] = [];
      for await (const chunk of answer) chunks.push(chunk as Buffer);
      return usageIn(JSON.parse(Buffer.concat(chunks).toString()) as DockerStats);
    });
  } catch (error) {
    if (isEngineProblem(error, 'container_absent')) return undefined;
    throw error;
  }
}

/** Of one that does not run the engine tells of no memory. Its names are those of cgroup v1 or v2. */
function usageIn({
  cpu_stats,
  memory_stats,
  blkio_stats,
}: DockerStats): ContainerUsage | undefined {
  const { usage, stats = {} } = memory_stats;
  if (usage === undefined) return undefined;
  const files = stats['total_inactive_file'] ?? stats['inactive_file'] ?? 0;
  const transfers = blkio_stats.io_service_bytes_recursive ?? [];
  const bytesOf = (operation: string) =>
    transfers
      .filter(({ op }) => op.toLowerCase() === operation)
      .reduce((sum, { value }) => sum + value, 0);
  return {
    cpuSeconds: cpu_stats.cpu_usage.total_usage / 1e9,
    memoryBytes: Math.max(0, usage - files),
    readBytes: bytesOf('read'),
    writtenBytes: bytesOf('write'),
  };
}

interface DockerStats {
  cpu_stats: { cpu_usage: { total_usage: number } };
  memory_stats: { usage?: number; stats?: Record<string, number> };
  blkio_stats: { io_service_bytes_recursive?: { op: string; value: number }[] | null };
}
