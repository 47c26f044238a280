import type { MethodTable, Parameter, ZeroRpcCall, ZeroRpcMethod } from './method.js';
import { ZeroRpcError } from './zerorpc-error.js';

/** A table with the methods that every server has. */
export function withIntrospection(serviceName: string, theirs: MethodTable): MethodTable {
  const told = async (call: ZeroRpcCall) =>
    [...(await theirs.list(call))].filter(([name]) => !name.startsWith('_'));
  const find = async (name: unknown, call: ZeroRpcCall): Promise<ZeroRpcMethod> => {
    const method = typeof name === 'string' ? await table.find(name, call) : undefined;
    if (method === undefined) throw unknownMethod();
    return method;
  };
  const own = (
    doc: string,
    parameters: readonly Parameter[],
    call: ZeroRpcMethod['call'],
  ): ZeroRpcMethod => ({ doc, parameters, call });
  const methods = { name: 'method' };

  const ours: ReadonlyMap<string, ZeroRpcMethod> = new Map([
    ['_zerorpc_name', own('Return the name of the service.', [], () => serviceName)],
    [
      '_zerorpc_ping',
      own('Return pong and the name of the service.', [], () => ['pong', serviceName]),
    ],
    [
      '_zerorpc_list',
      own('Return the names of the methods.', [], async (_args, call) =>
        (await told(call)).map(([name]) => name),
      ),
    ],
    [
      '_zerorpc_inspect',
      own('Return the methods with their arguments and their docs.', [], async (_args, call) => ({
        name: serviceName,
        methods: Object.fromEntries(
          (await told(call)).map(([name, { doc, parameters }]) => [
            name,
            { args: argsOf(parameters), doc },
          ]),
        ),
      })),
    ],
    [
      '_zerorpc_help',
      own(
        'Return the doc of a method.',
        [methods],
        async ([name], call) => (await find(name, call)).doc,
      ),
    ],
    [
      '_zerorpc_args',
      own('Return the arguments of a method.', [methods], async ([name], call) =>
        argsOf((await find(name, call)).parameters),
      ),
    ],
  ]);
  const table: MethodTable = {
    find: async (name, call) => ours.get(name) ?? theirs.find(name, call),
    list: (call) => theirs.list(call),
  };
  return table;
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
