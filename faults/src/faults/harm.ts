import type { ProcessEnd } from '@inference-server/local-services';
import { isStopped } from '../world/process-family.js';
import type { Scene } from './fault.js';

/** A process of ours, or a service. */
interface Victim {
  readonly name: string;
  readonly pid: number | undefined;
  start(): Promise<void>;
  end(signal: 'SIGTERM' | 'SIGKILL' | 'SIGQUIT'): Promise<ProcessEnd | undefined>;
  freeze(): unknown;
  thaw(): unknown;
}

/** Ends it by the signal and starts it again after a while. */
export async function restart(
  scene: Scene,
  victim: Victim,
  signal: 'SIGTERM' | 'SIGKILL' | 'SIGQUIT',
  awayMs: number,
): Promise<void> {
  await end(scene, victim, signal);
  await scene.pause(awayMs);
  scene.undoing();
  await victim.start();
}

/** Ends it by the signal; whoever stands still goes on. */
export async function end(
  { at, goOn, evidence, proof }: Scene,
  victim: Victim,
  signal: 'SIGTERM' | 'SIGKILL' | 'SIGQUIT',
): Promise<void> {
  const its = { process: victim.name, pid: victim.pid };
  evidence(signal, its);
  const ended = victim.end(signal);
  // One that stands still hears of SIGTERM only when it goes on.
  if (victim !== at || signal === 'SIGTERM') goOn();
  const how = await ended;
  if (how !== undefined) proof('ended', { ...its, ...how });
}

/** Stops all of it (SIGSTOP) for so long. */
export async function freeze(scene: Scene, victim: Victim, forMs: number): Promise<void> {
  const { evidence, proof, goOn, pause, undoing } = scene;
  const its = { process: victim.name, pid: victim.pid };
  evidence('frozen', { ...its, forMs });
  const began = performance.now();
  await victim.freeze();
  if (victim !== scene.at) goOn();
  await pause(forMs);
  const stoodStill = victim.pid !== undefined && (await isStopped(victim.pid));
  if (stoodStill) proof('stood still', { ...its, ms: Math.round(performance.now() - began) });
  undoing();
  await victim.thaw();
}
