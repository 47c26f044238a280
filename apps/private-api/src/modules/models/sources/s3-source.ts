import { AwsV4Signer } from 'aws4fetch';
import { download, type DownloadBounds } from './download.js';
import { refusedUrl, sourceAway, type ModelSource } from './model-source.js';

export interface ObjectStore {
  /** Its URL, below which buckets stand as the first part of the path. */
  endpoint: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
}

/** `s3://bucket/key` of the buckets that are named, out of one store. The key stands as it is, not encoded. */
export function createS3Source({
  store,
  buckets,
  ...bounds
}: DownloadBounds & {
  store: ObjectStore | undefined;
  buckets: readonly string[];
}): ModelSource {
  return {
    async open(text, signal) {
      if (store === undefined || buckets.length === 0) {
        throw refusedUrl('is of s3, and S3_ENDPOINT, its keys or MODEL_SOURCE_BUCKETS are not set');
      }
      const { bucket, key } = placeOf(text);
      if (!buckets.includes(bucket)) {
        throw refusedUrl('is of a bucket that MODEL_SOURCE_BUCKETS does not allow');
      }
      const request = await signed(store, `${bucket}/${key}`);
      const answer = await download({ ...request, onlyPublic: false }, bounds, signal);
      if ('source' in answer) return answer.source;
      throw sourceAway(`answers with ${answer.status}`);
    },
  };
}

function placeOf(text: string): { bucket: string; key: string } {
  const [, bucket, key] = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\/(.+)$/is.exec(text) ?? [];
  const parts = key?.split('/') ?? [];
  // A URL would leave the bucket by them.
  if (bucket === undefined || parts.some((part) => part === '.' || part === '..')) {
    throw refusedUrl('is no s3://bucket/key');
  }
  return { bucket, key: parts.map((part) => encodeURIComponent(part)).join('/') };
}

async function signed(
  { endpoint, ...credentials }: ObjectStore,
  path: string,
): Promise<{ url: string; headers: Record<string, string> }> {
  const { url, headers } = await new AwsV4Signer({
    ...credentials,
    method: 'GET',
    url: new URL(path, endpoint.endsWith('/') ? endpoint : `${endpoint}/`).href,
    service: 's3',
  }).sign();
  return { url: url.href, headers: Object.fromEntries(headers) };
}
