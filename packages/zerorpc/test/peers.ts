import { expect, onTestFinished } from 'vitest';
import {
  createZeroRpcServer,
  type DropReason,
  type MethodTable,
  type ZeroRpcMethod,
  type ZeroRpcServer,
  type ZeroRpcServerOptions,
} from '../src/index.js';
import { createByteBudget } from '../src/limits.js';

export { startPeers, type Came, type Id, type Peers } from '@inference-server/testing';

/** What comes to be so in the end, also on a machine that is busy. */
export const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 20_000 });

export const MiB = 1024 ** 2;

/** A method with the name of its parameter. */
export function method(
  call: ZeroRpcMethod['call'],
  rest: Partial<ZeroRpcMethod> = {},
): ZeroRpcMethod {
  return { doc: 'A method.', parameters: null, call, ...rest };
}

export const tableOf = (methods: ReadonlyMap<string, ZeroRpcMethod>): MethodTable => ({
  find: async (name) => methods.get(name),
  list: async () => methods,
});

/** Our server on a free port, with what it could not answer and what it dropped. */
export async function startServer(
  methods: Record<string, ZeroRpcMethod>,
  { port: wanted = 0, ...options }: Partial<ZeroRpcServerOptions> & { port?: number } = {},
): Promise<{
  port: number;
  server: ZeroRpcServer;
  faults: unknown[];
  dropped: DropReason[];
  budget: { readonly held: number };
}> {
  const faults: unknown[] = [];
  const dropped: DropReason[] = [];
  const budget = createByteBudget(1024 * MiB);
  const server = createZeroRpcServer({
    serviceName: 'TestService',
    methods: tableOf(new Map(Object.entries(methods))),
    budget,
    onFault: (error) => faults.push(error),
    onDropped: (reason) => dropped.push(reason),
    ...options,
  });
  onTestFinished(() => server.close(0));
  const port = await server.listen({ host: '127.0.0.1', port: wanted });
  return { port, server, faults, dropped, budget };
}
