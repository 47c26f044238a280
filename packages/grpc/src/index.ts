export { statusCodes, statusNameOf, type StatusName } from './codes.js';
export { openGrpcConnection, type GrpcConnection } from './client/connection.js';
export type { Answer, OutgoingCall } from './client/outgoing-call.js';
export type { MessageSink } from './framing.js';
export { GrpcError, PeerError } from './grpc-error.js';
export type { Metadata } from './metadata.js';
export { createByteBudget, type ByteBudget } from './server/byte-budget.js';
export type {
  AnswerRoom,
  CallHead,
  Handler,
  Method,
  Opening,
  StreamHandler,
  UnaryAnswer,
} from './server/method.js';
export type { MessagePace } from './server/pace.js';
export { createGrpcServer, type GrpcServer, type GrpcServerOptions } from './server/server.js';
