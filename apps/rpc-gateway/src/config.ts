import Type, { type Static } from 'typebox';
import { HumanReadableId } from '@inference-server/contracts';
import {
  ConfigError,
  isLoopbackAddress,
  loadConfig,
  LogFileSettings,
  logFilesOf,
  logLevels,
  type LogFiles,
  Secret,
  type UploadPace,
} from '@inference-server/service-kit';

const Port = (usual: number) => Type.Integer({ default: usual, minimum: 0, maximum: 65_535 });

const Settings = Type.Object({
  /** The door for gRPC, which callers from outside reach. */
  GRPC_HOST: Type.String({ default: '127.0.0.1' }),
  GRPC_PORT: Port(8500),
  /** How callers from outside reach it, which `redhare.Inference/auth` tells them. Unset: as they have called. */
  GRPC_PUBLIC_ADDRESS: Type.Optional(
    Type.String({ pattern: '^(?:[A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):\\d{1,5}$' }),
  ),
  /**
   * The door for ZeroRPC, where nothing is encrypted: for this machine, unless another address is given. Without a
   * port there is none.
   */
  ZERORPC_HOST: Type.String({ default: '127.0.0.1' }),
  ZERORPC_PORT: Type.Optional(Type.Integer({ minimum: 0, maximum: 65_535 })),
  /** The door for public-api, and for who asks whether this process is up. */
  HTTP_HOST: Type.String({ default: '127.0.0.1' }),
  HTTP_PORT: Port(8600),
  PRIVATE_API_URL: Type.String({ default: 'http://127.0.0.1:7000', pattern: '^https?://[^/]+/?$' }),
  RPC_GATEWAY_TOKEN: Secret(),
  /** What public-api shows. Unset: nothing is taken from it. */
  RELAY_TOKEN: Type.Optional(Secret()),
  ANONYMOUS_ROLE: Type.Union(
    [Type.Literal('none'), Type.Literal('submit'), Type.Literal('publish')],
    { default: 'none' },
  ),
  /** Proxies before the door for gRPC that are believed when they say from where a call comes. */
  TRUSTED_PROXIES: Type.String({ default: '', pattern: '^[A-Za-z0-9.:/, ]*$' }),
  /** Keys and tokens that open nothing, in a minute from one address. 0: any number. */
  MAX_REFUSALS_PER_ADDRESS: Type.Integer({ default: 60, minimum: 0 }),
  /** Of one request or answer by gRPC, or by ZeroRPC (64 MiB at most), and of one body as JSON. */
  MAX_MESSAGE_BYTES: Type.Integer({ default: 256 * 1024 ** 2, minimum: 1, maximum: 2 ** 32 - 1 }),
  MAX_JSON_BYTES: Type.Integer({ default: 8 * 1024 ** 2, minimum: 1, maximum: 512 * 1024 ** 2 }),
  /** Calls of a model that wait for a replica, and of all batch models together for their tasks; bytes of all requests and answers, three of the largest at least. */
  MAX_QUEUE_PER_MODEL: Type.Integer({ default: 1_000, minimum: 1 }),
  MAX_QUEUED_BYTES: Type.Integer({ default: 2 * 1024 ** 3, minimum: 1 }),
  /** How long a call waits while its model has no replica. */
  START_TIMEOUT_S: Type.Number({ default: 120, exclusiveMinimum: 0, maximum: 86_400 }),
  /** How long a call may take from its head on that has no deadline of its own, or a later one. */
  MAX_CALL_S: Type.Number({ default: 3_600, exclusiveMinimum: 0, maximum: 86_400 }),
  /** The model that Invoke asks where the metadata of a call names none. */
  DEFAULT_INVOCATION_MODEL: Type.Optional(HumanReadableId),
  /** Data of one stream of redhare.Inference that are unanswered at a time. */
  STREAM_WINDOW: Type.Integer({ default: 16, minimum: 1, maximum: 1_000 }),
  MIN_UPLOAD_BYTES_PER_WINDOW: Type.Integer({ default: 60 * 1024, minimum: 0 }),
  UPLOAD_WINDOW_S: Type.Number({ default: 60, exclusiveMinimum: 0 }),
  LOG_LEVEL: Type.Union(
    logLevels.map((level) => Type.Literal(level)),
    { default: 'info' },
  ),
  ...LogFileSettings,
  STOP_GRACE_S: Type.Integer({ default: 30, minimum: 0 }),
});

export interface RpcGatewayConfig {
  grpc: { host: string; port: number };
  /** host:port; undefined: as callers have called. */
  grpcPublicAddress: string | undefined;
  /** Undefined: there is no such door. */
  zerorpc: { host: string; port: number; isExposed: boolean } | undefined;
  http: { host: string; port: number };
  privateApiUrl: string;
  /** What private-api knows this process by. */
  privateApiToken: string;
  relayToken: string | undefined;
  /** What a caller without a key may do. */
  anonymousRole: Static<typeof Settings>['ANONYMOUS_ROLE'];
  /** Whether other machines can reach the door for gRPC. */
  isExposed: boolean;
  trustedProxies: string[];
  refusalsPerAddress: number;
  maxMessageBytes: number;
  maxJsonBytes: number;
  maxQueuePerModel: number;
  maxQueuedBytes: number;
  startTimeoutMs: number;
  maxCallMs: number;
  /** What Invoke asks where nothing else is named. */
  defaultInvocationModel: string | undefined;
  streamWindow: number;
  uploadPace: UploadPace;
  logLevel: string;
  /** Where logs go beside standard output. */
  logFiles: LogFiles | undefined;
  stopGraceMs: number;
}

/** The settings of the process, each as the README lists it. Throws ConfigError. */
export function readConfig(environment: NodeJS.ProcessEnv): RpcGatewayConfig {
  const settings = loadConfig(Settings, environment);
  // Who is told to come again would be told so for ever. A compressed message is there three times for a moment:
  // as it came, in the pieces that were inflated, and as a whole.
  if (settings.MAX_QUEUED_BYTES < 3 * settings.MAX_MESSAGE_BYTES) {
    throw new ConfigError('MAX_QUEUED_BYTES: must be at least three times MAX_MESSAGE_BYTES');
  }
  return {
    grpc: { host: settings.GRPC_HOST, port: settings.GRPC_PORT },
    grpcPublicAddress: settings.GRPC_PUBLIC_ADDRESS,
    zerorpc: zerorpcOf(settings),
    http: { host: settings.HTTP_HOST, port: settings.HTTP_PORT },
    privateApiUrl: settings.PRIVATE_API_URL.replace(/\/$/, ''),
    privateApiToken: settings.RPC_GATEWAY_TOKEN,
    relayToken: settings.RELAY_TOKEN,
    anonymousRole: settings.ANONYMOUS_ROLE,
    isExposed: !isLoopbackAddress(settings.GRPC_HOST),
    trustedProxies: settings.TRUSTED_PROXIES.split(',').flatMap((part) => part.trim() || []),
    refusalsPerAddress: settings.MAX_REFUSALS_PER_ADDRESS,
    maxMessageBytes: settings.MAX_MESSAGE_BYTES,
    maxJsonBytes: settings.MAX_JSON_BYTES,
    maxQueuePerModel: settings.MAX_QUEUE_PER_MODEL,
    maxQueuedBytes: settings.MAX_QUEUED_BYTES,
    startTimeoutMs: settings.START_TIMEOUT_S * 1000,
    maxCallMs: settings.MAX_CALL_S * 1000,
    defaultInvocationModel: settings.DEFAULT_INVOCATION_MODEL,
    streamWindow: settings.STREAM_WINDOW,
    uploadPace: {
      minBytes: settings.MIN_UPLOAD_BYTES_PER_WINDOW,
      windowMs: settings.UPLOAD_WINDOW_S * 1000,
    },
    logLevel: settings.LOG_LEVEL,
    logFiles: logFilesOf(settings),
    stopGraceMs: settings.STOP_GRACE_S * 1000,
  };
}

function zerorpcOf({
  ZERORPC_HOST: host,
  ZERORPC_PORT: port,
}: Static<typeof Settings>): RpcGatewayConfig['zerorpc'] {
  return port === undefined ? undefined : { host, port, isExposed: !isLoopbackAddress(host) };
}
