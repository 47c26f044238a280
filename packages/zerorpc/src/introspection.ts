import type { Parameter, ZeroRpcMethod } from './method.js';
import { ZeroRpcError } from './zerorpc-error.js';

/** The methods that every server has, for the table that there is at the moment. */
export function introspection(
  serviceName: string,
  table: () => ReadonlyMap<string, ZeroRpcMethod>,
): ReadonlyMap<string, ZeroRpcMethod> {
  const told = () => [...table()].filter(([name]) => !name.startsWith('_'));
  const find = (name: unknown): ZeroRpcMethod => {
    const method = typeof name === 'string' ? findMethod(table(), name) : undefined;
    if (method === undefined) throw unknownMethod();
    return method;
  };
  const own = (
    doc: string,
    parameters: readonly Parameter[],
    call: (args: readonly unknown[]) => unknown,
  ): ZeroRpcMethod => ({ doc, parameters, call });
  const methods = { name: 'method' };

  const all: ReadonlyMap<string, ZeroRpcMethod> = new Map([
    ['_zerorpc_name', own('Return the name of the service.', [], () => serviceName)],
    [
      '_zerorpc_ping',
      own('Return pong and the name of the service.', [], () => ['pong', serviceName]),
    ],
    [
      '_zerorpc_list',
      own('Return the names of the methods.', [], () => told().map(([name]) => name)),
    ],
    [
      '_zerorpc_inspect',
      own('Return the methods with their arguments and their docs.', [], () => ({
        name: serviceName,
        methods: Object.fromEntries(
          told().map(([name, { doc, parameters }]) => [name, { args: argsOf(parameters), doc }]),
        ),
      })),
    ],
    ['_zerorpc_help', own('Return the doc of a method.', [methods], ([name]) => find(name).doc)],
    [
      '_zerorpc_args',
      own('Return the arguments of a method.', [methods], ([name]) =>
        argsOf(find(name).parameters),
      ),
    ],
  ]);
  return all;

  function findMethod(
    theirs: ReadonlyMap<string, ZeroRpcMethod>,
    name: string,
  ): ZeroRpcMethod | undefined {
    return all.get(name) ?? theirs.get(name);
  }
}

function argsOf(parameters: readonly Parameter[] | null): unknown {
  return (
    parameters?.map(({ name, ...rest }) => ('default' in rest ? { name, ...rest } : { name })) ??
    null
  );
}

export function unknownMethod(): ZeroRpcError {
  return new ZeroRpcError('NameError', 'There is no such method here.');
}

/** Refuses calls with too few or too many arguments, as a client in Python expects it of a function. */
export function checkArgs(
  args: unknown,
  parameters: readonly Parameter[] | null,
): readonly unknown[] {
  if (!Array.isArray(args)) throw new ZeroRpcError('TypeError', 'The arguments come as a list.');
  const given = args as readonly unknown[];
  if (parameters === null) return given;
  const needed = parameters.filter((parameter) => !('default' in parameter)).length;
  if (given.length < needed || given.length > parameters.length) {
    const number = needed === parameters.length ? `${needed}` : `${needed} to ${parameters.length}`;
    throw new ZeroRpcError(
      'TypeError',
      `The method takes ${number} argument${number === '1' ? '' : 's'}, and ${given.length} came.`,
    );
  }
  return given;
}
