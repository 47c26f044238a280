export { defaultLimits, type ByteBudget, type ZeroRpcLimits } from './limits.js';
export type { Connection, MethodTable, Parameter, ZeroRpcCall, ZeroRpcMethod } from './method.js';
export { createZeroRpcServer, type ZeroRpcServer, type ZeroRpcServerOptions } from './server.js';
export type { DropReason } from './dropped.js';
export { ZeroRpcError } from './zerorpc-error.js';
