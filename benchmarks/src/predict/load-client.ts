import { startClientProcess } from '../client-process.js';
import type { Scene } from '../scene.js';

export interface Target {
  /** host:port */
  address: string;
  model: string;
}

/** Calls from a process of their own, by grpc-js, which shares no code with the gateway. */
export interface LoadClient {
  /** One after another; how long each took (ms). */
  latency(load: Target & { bytes: number; calls: number }): Promise<number[]>;
  /** So many at a time; answers a second. */
  throughput(
    load: Target & { bytes: number; concurrency: number; seconds: number },
  ): Promise<number>;
  /** Until the first answer, however often it has to be tried; how long that took (ms). */
  firstAnswer(load: Target & { timeoutMs: number }): Promise<number>;
}

/** Ends with the scene. Any answer that is not what was sent is an error. */
export async function createLoadClient(scene: Scene): Promise<LoadClient> {
  const ask = await startClientProcess(scene, new URL('load-process.js', import.meta.url));
  return {
    latency: (load) => ask({ kind: 'latency', ...load }),
    throughput: (load) => ask({ kind: 'throughput', ...load }),
    firstAnswer: (load) => ask({ kind: 'firstAnswer', ...load }),
  };
}
