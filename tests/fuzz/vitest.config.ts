import { mergeConfig } from 'vitest/config';
import base from '../../vitest.config.js';

/** The fuzz targets, which are no tests of `npm test`; run by scripts/fuzz.mjs. */
export default {
  ...mergeConfig(base, { test: { disableConsoleIntercept: true } }),
  test: { ...base.test, include: ['tests/fuzz/run-targets.ts'] },
};
