import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
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
export async function createLoadClient({ environment, signal, onEnd }: Scene): Promise<LoadClient> {
  const child = fork(fileURLToPath(new URL('load-process.js', import.meta.url)), {
    env: { ...environment },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  const ended = once(child, 'exit');
  onEnd(async () => {
    if (child.connected) child.disconnect();
    await ended;
  });
  const ask = async <Answer>(order: object): Promise<Answer> => {
    signal.throwIfAborted();
    child.send(order);
    const [told] = (await Promise.race([
      once(child, 'message', { signal }),
      ended.then(() => {
        throw new Error('The load client has ended.');
      }),
    ])) as [{ result: Answer } | { error: string }];
    if ('error' in told) throw new Error(told.error);
    return told.result;
  };
  return {
    latency: (load) => ask({ kind: 'latency', ...load }),
    throughput: (load) => ask({ kind: 'throughput', ...load }),
    firstAnswer: (load) => ask({ kind: 'firstAnswer', ...load }),
  };
}
