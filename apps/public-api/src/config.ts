import Type, { type Static } from 'typebox';
import {
  ConfigError,
  loadConfig,
  LogFileSettings,
  logFilesOf,
  logLevels,
  type LogFiles,
  isLoopbackAddress,
  Secret,
  SecretUrl,
  type UploadPace,
} from '@inference-server/service-kit';

const Settings = Type.Object({
  HOST: Type.String({ default: '127.0.0.1' }),
  PORT: Type.Integer({ default: 8000, minimum: 0, maximum: 65_535 }),
  PRIVATE_API_URL: Type.String({ default: 'http://127.0.0.1:7000', pattern: '^https?://[^/]+/?$' }),
  PUBLIC_API_TOKEN: Secret(),
  /** Where calls of runtime models go. Unset: there are none. */
  RPC_GATEWAY_URL: Type.Optional(Type.String({ pattern: '^https?://[^/]+/?$' })),
  RELAY_TOKEN: Type.Optional(Secret()),
  /** Of a call of a runtime model. */
  MAX_JSON_BYTES: Type.Integer({ default: 8 * 1024 ** 2, minimum: 1 }),
  ANONYMOUS_ROLE: Type.Union(
    [Type.Literal('none'), Type.Literal('submit'), Type.Literal('publish')],
    { default: 'none' },
  ),
  ALLOW_PUBLIC_POST_MODEL: Type.Optional(Type.String()),
  /** In front of the server: addresses and networks, with commas between. */
  TRUSTED_PROXIES: Type.String({ default: '', pattern: '^[A-Za-z0-9.:/, ]*$' }),
  CORS_ORIGINS: Type.String({ default: '' }),
  /** Where requests are counted for all public-apis together. Unset: each counts for itself. */
  REDIS_URL: Type.Optional(SecretUrl({ pattern: '^rediss?://', password: 'REDIS_PASSWORD' })),
  /** Of every key in Redis. */
  QUEUE_PREFIX: Type.String({ default: 'inference-server', pattern: '^[A-Za-z0-9_-]+$' }),
  /** Of one key or person, and of one address, in RATE_WINDOW_S; posts of tasks and models. 0: any. */
  MAX_REQUESTS_PER_KEY: Type.Integer({ default: 3_000, minimum: 0 }),
  MAX_REQUESTS_PER_ADDRESS: Type.Integer({ default: 10_000, minimum: 0 }),
  MAX_POSTS_PER_KEY: Type.Integer({ default: 1_000, minimum: 0 }),
  MAX_POSTS_PER_ADDRESS: Type.Integer({ default: 3_000, minimum: 0 }),
  /** What one address may show in a minute that opens nothing. 0: any number. */
  MAX_REFUSALS_PER_ADDRESS: Type.Integer({ default: 60, minimum: 0 }),
  RATE_WINDOW_S: Type.Integer({ default: 10, minimum: 1, maximum: 86_400 }),
  MAX_UPLOAD_BYTES: Type.Integer({ default: 20 * 1024 ** 3, minimum: 1 }),
  MIN_UPLOAD_BYTES_PER_WINDOW: Type.Integer({ default: 60 * 1024, minimum: 0 }),
  UPLOAD_WINDOW_S: Type.Number({ default: 60, exclusiveMinimum: 0 }),
  LOG_LEVEL: Type.Union(
    logLevels.map((level) => Type.Literal(level)),
    { default: 'info' },
  ),
  ...LogFileSettings,
  STOP_GRACE_S: Type.Integer({ default: 30, minimum: 0 }),
});

export interface PublicApiConfig {
  host: string;
  port: number;
  privateApiUrl: string;
  /** What private-api knows this process by. */
  privateApiToken: string;
  /** Where runtime models answer, and what it knows this process by; undefined: nowhere. */
  gateway: { url: string; token: string } | undefined;
  /** Of a call of a runtime model. */
  maxJsonBytes: number;
  /** What a caller without a key may do. */
  anonymousRole: Static<typeof Settings>['ANONYMOUS_ROLE'];
  allowPublicPostModel: boolean;
  /** Whether other machines can reach this server: it listens beyond the loopback address. */
  isExposed: boolean;
  /** Whose word about the address of a caller is believed. */
  trustedProxies: string[];
  /** Whose pages may read answers: scheme, host and port. */
  corsOrigins: readonly string[];
  /** Undefined: requests are counted in this process alone. */
  redisUrl: string | undefined;
  queuePrefix: string;
  /** How many requests there may be in a window; 0: any number. */
  rates: {
    requestsPerKey: number;
    requestsPerAddress: number;
    postsPerKey: number;
    postsPerAddress: number;
    refusalsPerAddress: number;
    windowS: number;
  };
  maxUploadBytes: number;
  uploadPace: UploadPace;
  logLevel: string;
  /** Where logs go beside standard output. */
  logFiles: LogFiles | undefined;
  stopGraceMs: number;
}

/** The settings of the process, each as the README lists it. Throws ConfigError. */
export function readConfig(environment: NodeJS.ProcessEnv): PublicApiConfig {
  const settings = loadConfig(Settings, environment);
  return {
    host: settings.HOST,
    port: settings.PORT,
    privateApiUrl: settings.PRIVATE_API_URL.replace(/\/$/, ''),
    privateApiToken: settings.PUBLIC_API_TOKEN,
    gateway: gatewayIn(settings),
    maxJsonBytes: settings.MAX_JSON_BYTES,
    anonymousRole: settings.ANONYMOUS_ROLE,
    allowPublicPostModel: settings.ALLOW_PUBLIC_POST_MODEL !== undefined,
    isExposed: !isLoopbackAddress(settings.HOST),
    trustedProxies: settings.TRUSTED_PROXIES.split(',').flatMap((part) => part.trim() || []),
    corsOrigins: originsIn(settings.CORS_ORIGINS),
    redisUrl: settings.REDIS_URL,
    queuePrefix: settings.QUEUE_PREFIX,
    rates: {
      requestsPerKey: settings.MAX_REQUESTS_PER_KEY,
      requestsPerAddress: settings.MAX_REQUESTS_PER_ADDRESS,
      postsPerKey: settings.MAX_POSTS_PER_KEY,
      postsPerAddress: settings.MAX_POSTS_PER_ADDRESS,
      refusalsPerAddress: settings.MAX_REFUSALS_PER_ADDRESS,
      windowS: settings.RATE_WINDOW_S,
    },
    maxUploadBytes: settings.MAX_UPLOAD_BYTES,
    uploadPace: {
      minBytes: settings.MIN_UPLOAD_BYTES_PER_WINDOW,
      windowMs: settings.UPLOAD_WINDOW_S * 1000,
    },
    logLevel: settings.LOG_LEVEL,
    logFiles: logFilesOf(settings),
    stopGraceMs: settings.STOP_GRACE_S * 1000,
  };
}

function gatewayIn({
  RPC_GATEWAY_URL: url,
  RELAY_TOKEN: token,
}: Static<typeof Settings>): PublicApiConfig['gateway'] {
  if (url === undefined && token === undefined) return undefined;
  if (url !== undefined && token !== undefined) return { url: url.replace(/\/$/, ''), token };
  throw new ConfigError('RPC_GATEWAY_URL, RELAY_TOKEN: give both, or none');
}

/** As a browser names them, to the letter: anything else would never match, and nobody would know why. */
function originsIn(text: string): string[] {
  const origins = text
    .split(',')
    .map((origin) => origin.trim())
    .filter((origin) => origin !== '');
  const wrong = origins.filter((origin) => !isOrigin(origin));
  if (wrong.length === 0) return origins;
  throw new ConfigError(
    `CORS_ORIGINS: ${wrong.join(', ')}: give origins as browsers write them, with commas between (https://portal.example.org, or with a port), and no *`,
  );
}

function isOrigin(text: string): boolean {
  return /^https?:/.test(text) && URL.canParse(text) && new URL(text).origin === text;
}
