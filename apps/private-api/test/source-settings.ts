import type { ModelSourceSettings } from '../src/modules/models/sources/model-sources.js';

/** Nothing is allowed: what a test allows stands beside it. */
export const unset: ModelSourceSettings = {
  MODEL_SOURCE_TIMEOUT_S: 20,
  S3_REGION: 'us-east-1',
  MIN_UPLOAD_BYTES_PER_WINDOW: 60 * 1024,
  UPLOAD_WINDOW_S: 60,
};
