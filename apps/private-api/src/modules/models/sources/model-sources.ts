import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { messageOf } from '@inference-server/errors';
import { ConfigError } from '@inference-server/service-kit';
import { createFileSource } from './file-source.js';
import { createHttpsSource } from './https-source.js';
import { refusedUrl, type ModelSource } from './model-source.js';
import { createS3Source } from './s3-source.js';

export interface ModelSourceSettings {
  MODEL_SOURCE_DIR?: string | undefined;
  MODEL_SOURCE_HOSTS?: string | undefined;
  MODEL_SOURCE_BUCKETS?: string | undefined;
  MODEL_SOURCE_CA_FILE?: string | undefined;
  MODEL_SOURCE_TIMEOUT_S: number;
  S3_ENDPOINT?: string | undefined;
  S3_REGION: string;
  S3_ACCESS_KEY_ID?: string | undefined;
  S3_SECRET_ACCESS_KEY?: string | undefined;
  MIN_UPLOAD_BYTES_PER_WINDOW: number;
  UPLOAD_WINDOW_S: number;
}

/**
 * All sources as one, by the scheme of the URL. What the operator has not set up is refused. Throws ConfigError
 * for a file of authorities that is none.
 */
export function createModelSources(settings: ModelSourceSettings): ModelSource {
  const bounds = {
    ca: authoritiesIn(settings.MODEL_SOURCE_CA_FILE),
    timeoutMs: settings.MODEL_SOURCE_TIMEOUT_S * 1000,
    pace: {
      minBytes: settings.MIN_UPLOAD_BYTES_PER_WINDOW,
      windowMs: settings.UPLOAD_WINDOW_S * 1000,
    },
  };
  const sources = new Map<string, ModelSource>([
    ['file', createFileSource(settings.MODEL_SOURCE_DIR)],
    ['https', createHttpsSource({ hosts: listed(settings.MODEL_SOURCE_HOSTS), ...bounds })],
    ['s3', createS3Source({ ...storeOf(settings), ...bounds })],
  ]);
  return {
    async open(url, signal) {
      signal.throwIfAborted();
      const [, scheme = ''] = /^([a-z0-9]+):/i.exec(url) ?? [];
      const source = sources.get(scheme.toLowerCase());
      if (source === undefined) throw refusedUrl('begins with none of https:, s3: and file:');
      return source.open(url, signal);
    },
  };
}

function authoritiesIn(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    const ca = readFileSync(path, 'utf8');
    // Throws for what is none.
    void new X509Certificate(ca);
    return ca;
  } catch (error) {
    throw new ConfigError(`MODEL_SOURCE_CA_FILE: ${messageOf(error)}`);
  }
}

function storeOf(settings: ModelSourceSettings) {
  const { S3_ENDPOINT, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY, S3_REGION } = settings;
  const isSetUp =
    S3_ENDPOINT !== undefined &&
    S3_ACCESS_KEY_ID !== undefined &&
    S3_SECRET_ACCESS_KEY !== undefined;
  return {
    buckets: listed(settings.MODEL_SOURCE_BUCKETS),
    store: isSetUp
      ? {
          endpoint: S3_ENDPOINT,
          region: S3_REGION,
          accessKeyId: S3_ACCESS_KEY_ID,
          secretAccessKey: S3_SECRET_ACCESS_KEY,
        }
      : undefined,
  };
}

function listed(text = ''): string[] {
  return text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
}
