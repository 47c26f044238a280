import { resolve } from 'node:path';
import Type, { type Static } from 'typebox';
import {
  ChosenSecret,
  ConfigError,
  isLoopbackAddress,
  loadConfig,
  LogFileSettings,
  logFilesOf,
  logLevels,
  type LogFiles,
  Secret,
  SecretUrl,
  withoutSecrets,
} from '@inference-server/service-kit';

const Port = (fallback: number) => Type.Integer({ minimum: 1, maximum: 65_535, default: fallback });

const Settings = Type.Object({
  DATA_DIR: Type.String({ default: '.data' }),
  HOST: Type.String({ default: '127.0.0.1' }),
  PUBLIC_API_PORT: Port(8000),
  PRIVATE_API_PORT: Port(7000),
  GRPC_PORT: Port(8500),
  ZERORPC_HOST: Type.String({ default: '127.0.0.1' }),
  ZERORPC_PORT: Port(4242),
  PRIVATE_API_TOKEN: Type.Optional(Secret()),
  ANONYMOUS_ROLE: Type.Optional(Type.Enum(['none', 'submit', 'publish'])),
  DATABASE_URL: Type.Optional(
    SecretUrl({ pattern: '^postgres(ql)?://', password: 'DATABASE_PASSWORD' }),
  ),
  REDIS_URL: Type.Optional(SecretUrl({ pattern: '^rediss?://', password: 'REDIS_PASSWORD' })),
  DOCKER_HOST: Type.Optional(Type.String({ pattern: '^(unix|tcp|http)://' })),
  STORAGE_URL: Type.Optional(Type.String()),
  ALLOW_PUBLIC_POST_MODEL: Type.Optional(Type.String()),
  BOOTSTRAP_USER: Type.Optional(Type.String()),
  BOOTSTRAP_PASSWORD: Type.Optional(ChosenSecret()),
  CPU_SLOTS: Type.Optional(Type.Integer({ minimum: 1, maximum: 1024 })),
  GPUS: Type.String({ default: 'auto' }),
  LOG_LEVEL: Type.Enum([...logLevels], { default: 'info' }),
  ...LogFileSettings,
});

export interface StandaloneConfig {
  /** Absolute. Everything that the server writes on this machine is below it. */
  dataDir: string;
  host: string;
  publicApiPort: number;
  privateApiPort: number;
  /** Of the gRPC door, beside public-api on `host`. */
  grpcPort: number;
  /** The ZeroRPC door, for this machine unless another address is given. */
  zerorpc: { host: string; port: number };
  /** What a caller without a key may do; unless it is said, nothing where other machines reach the server. */
  anonymousRole: 'none' | 'submit' | 'publish';
  /** Of the operator; undefined: made once and kept in the data folder. */
  privateApiToken: string | undefined;
  /** Existing services to use instead of starting our own. */
  databaseUrl: string | undefined;
  redisUrl: string | undefined;
  dockerHost: string | undefined;
  /** Undefined: a folder in the data folder. */
  storageUrl: string | undefined;
  allowPublicPostModel: string | undefined;
  /** The first person. */
  bootstrap: { user: string; password: string | undefined } | undefined;
  cpuSlots: number | undefined;
  gpus: string;
  logLevel: string;
  /** Where the apps log beside the data folder. */
  logFiles: LogFiles | undefined;
  demo: boolean;
}

/** The settings, each as the README lists it. Throws ConfigError with every problem at once. */
export function readConfig(
  environment: NodeJS.ProcessEnv,
  args: readonly string[],
  workingFolder: string,
): StandaloneConfig {
  const settings = loadConfig(Settings, environment);
  const problems = [
    ...args.filter((arg) => arg !== '--no-demo').map((arg) => `${arg}: is no option; --no-demo is`),
    ...alike(settings),
  ];
  if (problems.length > 0) throw new ConfigError(problems.join('\n'));
  return {
    dataDir: resolve(workingFolder, settings.DATA_DIR),
    host: settings.HOST,
    publicApiPort: settings.PUBLIC_API_PORT,
    privateApiPort: settings.PRIVATE_API_PORT,
    grpcPort: settings.GRPC_PORT,
    zerorpc: { host: settings.ZERORPC_HOST, port: settings.ZERORPC_PORT },
    anonymousRole:
      settings.ANONYMOUS_ROLE ?? (isLoopbackAddress(settings.HOST) ? 'publish' : 'none'),
    privateApiToken: settings.PRIVATE_API_TOKEN,
    databaseUrl: settings.DATABASE_URL,
    redisUrl: settings.REDIS_URL,
    dockerHost: settings.DOCKER_HOST,
    storageUrl: settings.STORAGE_URL,
    allowPublicPostModel: settings.ALLOW_PUBLIC_POST_MODEL,
    bootstrap:
      settings.BOOTSTRAP_USER === undefined
        ? undefined
        : { user: settings.BOOTSTRAP_USER, password: settings.BOOTSTRAP_PASSWORD },
    cpuSlots: settings.CPU_SLOTS,
    gpus: settings.GPUS,
    logLevel: settings.LOG_LEVEL,
    logFiles: logFilesOf(settings),
    demo: !args.includes('--no-demo'),
  };
}

/** A line for each two ports that are one. */
function alike(settings: Static<typeof Settings>): string[] {
  const names = ['PUBLIC_API_PORT', 'PRIVATE_API_PORT', 'GRPC_PORT', 'ZERORPC_PORT'] as const;
  return names.flatMap((name, index) =>
    names
      .slice(index + 1)
      .filter((other) => settings[other] === settings[name])
      .map((other) => `${name}, ${other}: are the same`),
  );
}

/** What the services and apps get of the environment: each is handed the secrets that it needs by name. */
export function handedOn(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return withoutSecrets(Settings, environment);
}
