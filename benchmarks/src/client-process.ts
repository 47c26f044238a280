import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { Scene } from './scene.js';

/** Gives the process an order, and waits for what comes of it. One at a time. */
export type Ask = <Answer>(order: object) => Promise<Answer>;

/** A load client: a process of its own (`takeOrders`), which shares no code with our servers. Ends with the scene. */
export async function startClientProcess(
  { environment, signal, onEnd }: Scene,
  file: URL,
): Promise<Ask> {
  const child = fork(file, {
    env: { ...environment },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  const ended = once(child, 'exit');
  onEnd(async () => {
    if (child.connected) child.disconnect();
    await ended;
  });
  return async <Answer>(order: object) => {
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
}

/** The other end: does what it is told until its parent ends. */
export function takeOrders(run: (order: never) => Promise<unknown>): void {
  process.on('message', (order) => {
    run(order as never).then(
      (result) => process.send?.({ result }),
      (error: unknown) => process.send?.({ error: String(error) }),
    );
  });
  process.on('disconnect', () => process.exit(0));
}
