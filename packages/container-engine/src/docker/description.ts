import type { EngineDescription } from '../container-engine.js';
import { EngineError } from '../engine-error.js';
import { boundedCall, type EngineConnection } from './connection.js';

export async function describeEngine(
  { docker, deadlines }: EngineConnection,
  signal: AbortSignal,
): Promise<EngineDescription> {
  const info = (await boundedCall('what the engine has', deadlines.callMs, signal, () =>
    docker.info(),
  )) as EngineInfo;
  return descriptionOf(info);
}

export async function readClock(
  { docker, deadlines }: EngineConnection,
  signal: AbortSignal,
): Promise<Date> {
  const info = (await boundedCall('the clock of the engine', deadlines.callMs, signal, () =>
    docker.info(),
  )) as { SystemTime: string };
  return new Date(info.SystemTime);
}

/** Throws `failed` for an answer without cores or memory: a 0 would pass for a host that has none. */
export function descriptionOf(info: EngineInfo): EngineDescription {
  const { NCPU: cpus, MemTotal: memoryBytes, Runtimes, DiscoveredDevices, CgroupDriver } = info;
  const security = (info.SecurityOptions ?? []).map((option) => option.split(',', 1)[0]);
  if (!isAmount(cpus) || !isAmount(memoryBytes)) {
    throw new EngineError('failed', 'what the engine has: it tells of no cores or no memory.');
  }
  return {
    cpus,
    memoryBytes,
    runtimes: Object.keys(Runtimes ?? {}).sort(),
    cdiDevices: (DiscoveredDevices ?? [])
      .flatMap(({ Source, ID }) => (Source === 'cdi' && ID !== undefined ? [ID] : []))
      .sort(),
    hasUserNamespaces: security.includes('name=userns') || security.includes('name=rootless'),
    hasSeccomp: security.includes('name=seccomp'),
    cgroupDriver: CgroupDriver ?? '',
  };
}

function isAmount(value: number | undefined): value is number {
  return value !== undefined && value > 0;
}

/** What is used of the answer to GET /info. */
export interface EngineInfo {
  NCPU?: number;
  MemTotal?: number;
  Runtimes?: Record<string, unknown> | null;
  CgroupDriver?: string;
  /** As name=seccomp,profile=default. */
  SecurityOptions?: string[] | null;
  /** Since API 1.50 (docker 28.2). */
  DiscoveredDevices?: { Source?: string; ID?: string }[] | null;
}
